"""Checkpoints. Enters: everything training knows. Leaves: one file `step-<8 digits>.ckpt`, and back.

The file is an uncompressed `.npz` without pickle: the learner's arrays, the best weights so far,
and a JSON record of the state and of where it comes from (`Origin`). It appears whole or not at
all; zip's CRC-32 over each part tells a damaged file. Only the newest is kept.
"""

from __future__ import annotations

import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from contract.config import TrainerConfig
from contract.errors import DataError
from contract.failpoints import reach
from trainer.atomic import replacing
from trainer.dataset import Dataset
from trainer.normalise import VERSION
from trainer.say import say
from trainer.state import State

Arrays = list[NDArray[Any]]

UNDECISIVE = {"command", "epochs", "patience"}
"""Settings that a resumed run may change. With any other, its weights would not be those of an uninterrupted one; under
the schedule cosine that goes for `epochs`, too."""

_RECORD = "record.json"
_UNREADABLE = (OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError, RuntimeError)
"""What NumPy, zipfile (RuntimeError: "encrypted", "compression not supported") and pydantic say of damaged bytes."""


class Origin(BaseModel):
    """What a checkpoint was trained from."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    labels: tuple[str, ...]
    settings: TrainerConfig
    preprocessing: int = 1
    """`trainer.normalise.VERSION`; checkpoints of before it was kept are of version 1."""

    @classmethod
    def of(cls, dataset: Dataset, settings: TrainerConfig) -> Origin:
        return cls(fingerprint=dataset.fingerprint, labels=dataset.labels, settings=settings, preprocessing=VERSION)

    def differences(self, other: Origin) -> list[str]:
        """Every reason, as a sentence, for which training from `self` cannot continue from `other`."""
        found = []
        if self.labels != other.labels:
            gone, new = sorted(set(self.labels) - set(other.labels)), sorted(set(other.labels) - set(self.labels))
            found.append(f"the labels differ: without {gone or 'none'}, with {new or 'none'} that were not there")
        elif self.fingerprint != other.fingerprint:
            found.append(f"the dataset differs: fingerprint {self.fingerprint[:12]} then, {other.fingerprint[:12]} now")
        if self.preprocessing != other.preprocessing:
            found.append(
                f"the preprocessing (trainer/normalise.py) was version {self.preprocessing}, is {other.preprocessing}"
            )
        free = UNDECISIVE - {"epochs"} if other.settings.schedule == "cosine" else UNDECISIVE
        for name in TrainerConfig.model_fields:
            then, now = getattr(self.settings, name), getattr(other.settings, name)
            if then != now and name not in free:
                found.append(f"trainer.{name} was {then}, is {now}")
        return found


class _Record(BaseModel):
    origin: Origin
    state: State
    learner_arrays: int
    best_arrays: int


@dataclass(frozen=True)
class Checkpoint:
    origin: Origin
    state: State
    learner: Arrays
    """`Learner.state()`"""
    best: Arrays
    """`Learner.weights()` of the best epoch so far; empty before the first epoch's end."""


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write `step-<step>.ckpt` durably, then remove every other checkpoint in the directory."""
    path = directory / f"step-{checkpoint.state.step:08d}.ckpt"
    record = _Record(
        origin=checkpoint.origin,
        state=checkpoint.state,
        learner_arrays=len(checkpoint.learner),
        best_arrays=len(checkpoint.best),
    )
    arrays = {_RECORD: np.frombuffer(record.model_dump_json().encode(), np.uint8)}
    arrays |= {f"learner-{number}": array for number, array in enumerate(checkpoint.learner)}
    arrays |= {f"best-{number}": array for number, array in enumerate(checkpoint.best)}
    directory.mkdir(parents=True, exist_ok=True)
    reach("checkpoint.write.before")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    reach("checkpoint.write.after")
    reach("checkpoint.clear.before")
    for old in (*directory.glob("step-*.ckpt"), *directory.glob(".step-*.ckpt")):
        if old != path:
            old.unlink(missing_ok=True)
    reach("checkpoint.clear.after")
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one file.

    Raises:
        DataError: it is damaged, or no checkpoint.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            record = _Record.model_validate_json(arrays[_RECORD].tobytes())
            learner = [arrays[f"learner-{number}"] for number in range(record.learner_arrays)]
            best = [arrays[f"best-{number}"] for number in range(record.best_arrays)]
    except _UNREADABLE as error:
        raise DataError(f"{path} is damaged", why=str(error), mend="restore it, or an older one") from None
    return Checkpoint(record.origin, record.state, learner, best)


def newest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read; None when there is none at all.

    Raises:
        DataError: there are checkpoints, but none can be read: training never starts again over
            work that may still be saved.
    """
    damaged: list[DataError] = []
    for path in sorted(directory.glob("step-*.ckpt"), reverse=True):
        try:
            checkpoint = read_checkpoint(path)
        except DataError as error:
            damaged.append(error)
            continue
        for damage in damaged:
            say(f"{damage.what} ({damage.why}); resuming from {path.name}")
        return checkpoint
    if damaged:
        raise DataError(
            f"no checkpoint in {directory} can be read",
            why="; ".join(damage.what for damage in damaged),
            mend="restore an older one, or empty the folder to start from zero",
        )
    return None


def check_origin(checkpoint: Checkpoint, now: Origin) -> None:
    """Refuse to continue from something else.

    Raises:
        DataError: names every difference.
    """
    differences = checkpoint.origin.differences(now)
    if differences:
        raise DataError(
            f"the checkpoint at step {checkpoint.state.step} is of another training: {'; '.join(differences)}",
            mend="undo the change, or start a new run",
        )


class Writer:
    """Writes checkpoints in the background, one after the other, so that a step waits only for the copy."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None

    def write(self, checkpoint: Checkpoint) -> None:
        """Start writing; nothing in `checkpoint` may change afterwards. Waits for the one before.

        When that one could not be written, on a full disk say, it says so and goes on: this one is newer.
        """
        try:
            self._wait()
        except OSError as error:
            say(f"a checkpoint could not be written, the next one is tried: {error}")
        self._pending = self._thread.submit(write_checkpoint, self._directory, checkpoint)

    def close(self) -> None:
        """Return when everything is on the disk.

        Raises:
            OSError: the last one could not be written.
        """
        self._thread.shutdown(wait=True)
        self._wait()

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
