"""Keras's own way of keeping work, and what it costs: a callback writes, `aws s3 sync` from cron brings it to S3.

Enters: a folder, an environment in which S3 answers. Leaves: processor seconds per checkpoint.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.pairs import run
from benchmarks.result import Baseline
from contract.config import TrainerConfig

NAMES = ("ModelCheckpoint and `aws s3 sync`", "BackupAndRestore and `aws s3 sync`")


@dataclass(frozen=True)
class Work:
    """Processor seconds of a checkpoint and its sync."""

    own: float
    """Of this process and `aws`."""
    serving: float


def baselines() -> tuple[Baseline, ...]:
    versions = f"Keras {version('keras')}, awscli {version('awscli')}"
    return tuple(Baseline(name=name, version=versions) for name in NAMES)


def processor_seconds(
    folder: Path,
    config: TrainerConfig,
    words: int,
    number: int,
    *,
    to: str,
    environment: Mapping[str, str],
    serving: Callable[[], float],
) -> dict[str, list[Work]]:
    """Of saving once and syncing once, by the names above, `number` times. `serving` says what whoever serves S3 has
    used so far. The first time, which brings all for the first time, is left out.
    """
    import keras

    from trainer.model import build_model
    from trainer.normalise import CHANNELS

    model = build_model(config, words)
    model.compile("adam", "sparse_categorical_crossentropy")
    features, targets = np.ones((2, 8, CHANNELS), np.float32), np.zeros(2, np.int32)
    found: dict[str, list[Work]] = {name: [] for name in NAMES}
    for name in NAMES:
        target = folder / name.split()[0]
        target.mkdir(parents=True)
        callback = (
            keras.callbacks.ModelCheckpoint(str(target / "checkpoint.keras"))
            if name == NAMES[0]
            else keras.callbacks.BackupAndRestore(str(target))
        )
        callback.set_model(model)
        callback.on_train_begin()
        aws = str(Path(sys.executable).with_name("aws"))
        sync = [aws, "s3", "sync", "--only-show-errors", str(target), f"{to}/{target.name}"]
        for epoch in range(number + 1):
            model.train_on_batch(features, targets)
            began, served = time.process_time(), serving()
            callback.on_epoch_end(epoch, {})
            saving = time.process_time() - began
            syncing = run(sync, env=environment).cpu_seconds
            found[name].append(Work(saving + syncing, serving() - served))
    return {name: seconds[1:] for name, seconds in found.items()}
