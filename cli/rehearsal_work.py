"""What a rehearsed cluster works on. Enters: a stage. Leaves: settings, when to strike, and what came of it all."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ValidationError

from cli.stage import Stage
from contract.status import Event, Phase, Status

CLIPS = 16
FRAMES = 120
TRIALS = 4
EPOCHS = 12
SWEEP = f"""search = "random"
early_stopping = "none"
metric = "val_loss"
[budget]
trials = {TRIALS}
[trial]
cpus = 1
[space]
learning_rate = {{ low = 1e-3, high = 4e-3, log = true }}
"""
Due = Callable[[Status], bool]


class Outcome(BaseModel):
    wanted: int
    """Clips, or trials."""
    done: int
    whole: bool
    """Keypoints: the same bytes as this machine makes alone. Trials: none lost what was verified in S3, nor did more
    steps twice than the fastest of them does in `sync.checkpoint_seconds`."""
    message: str


class Work(Protocol):
    bucket: str
    dues: tuple[Due, Due]
    """When a worker is taken away, and when the head."""

    def prepare(self) -> dict[str, str]:
        """Settings, and what they name."""

    def busy(self, workers: list[str]) -> str:
        """One of them that has work in hand."""

    def note(self) -> None:
        """What there is when an instance is taken away."""

    def judge(self, made: Path) -> Outcome:
        """`made`: the folder that was fetched."""


def work_of(job: Literal["sweep", "extract"], stage: Stage, data: Path | None, interval: float) -> Work:
    """`interval`: `sync.checkpoint_seconds`."""
    return Trials(stage, data, interval) if job == "sweep" else Clips(stage, data)


def _share(status: Status) -> float:
    return status.progress.step / max(1, status.progress.steps)


def _steps_a_second(row: Mapping[str, Any]) -> float:
    """Of a leaderboard's row; 0 where its last attempt had nothing left to train."""
    trained = row["step"] - row["resumed_step"]
    return trained / row["seconds"] if trained and row["seconds"] else 0.0


def _saved(status: Status) -> bool:
    """The run has saved what is known of trials that have begun."""
    return status.progress.step > 0 and status.checkpoint_step > 0


class Clips:
    dues: tuple[Due, Due] = (lambda status: _share(status) >= 0.25, lambda status: _share(status) >= 0.5)

    def __init__(self, stage: Stage, data: Path | None) -> None:
        self.stage = stage
        self.bucket = ""
        self._data = data.resolve() if data else stage.work / "clips"
        self._make = data is None

    def prepare(self) -> dict[str, str]:
        if self._make:
            make_clips(self._data)
            self.stage.screen.say("data", f"{CLIPS} synthetic clips of {FRAMES} frames")
        return {"data.path": str(self._data)}

    def busy(self, workers: list[str]) -> str:
        return workers[0]

    def note(self) -> None:
        """Keypoints are compared at the end."""

    def judge(self, made: Path) -> Outcome:
        alone = self.stage.work / "alone"
        model = self._data / "hand_landmarker.task"
        given = ["--model", str(model)] if model.exists() else []
        command = [sys.executable, "-m", "trainer.extract", str(self._data), "--to", str(alone), *given]
        self.stage.call(command, allowed=(0, 7))
        expected = {path.relative_to(alone): path.read_bytes() for path in alone.rglob("*.npy")}
        found = {path.relative_to(made): path.read_bytes() for path in made.rglob("*.npy")}
        same = bool(found) and found == expected
        message = f"{len(found)} clips, {'the same bytes' if same else 'not the bytes'} that this machine makes alone"
        return Outcome(wanted=len(expected), done=len(found), whole=same, message=message)


def make_clips(folder: Path) -> None:
    """Clips without a hand, and the hand model beside them, where this user has it."""
    import cv2
    import numpy as np

    for number in range(CLIPS):
        path = folder / f"word{number % 4}" / f"clip-{number}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
        for frame in range(FRAMES):
            picture = np.full((240, 320, 3), 60 + number, np.uint8)
            picture[40:80, frame : frame + 40] = 200
            writer.write(picture)
        writer.release()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signspot/hand_landmarker.task"
    if cache.exists():
        shutil.copy(cache, folder)


class Trials:
    dues: tuple[Due, Due] = (_saved, lambda status: status.progress.train_epoch >= 1)

    def __init__(self, stage: Stage, data: Path | None, interval: float) -> None:
        self.stage = stage
        self.bucket = ""
        self._interval = interval
        self._data = data.resolve() if data else stage.work / "sample"
        self._make = data is None
        self._noted: list[tuple[str, Status]] = []
        """Trials, and what the status of each said when an instance was taken away."""

    def prepare(self) -> dict[str, str]:
        if self._make:
            self.stage.call([sys.executable, "-m", "trainer.sample", str(self._data)])
        sweep = self.stage.work / "sweep.toml"
        sweep.write_text(SWEEP)
        self.stage.screen.say("data", f"a synthetic sample; a sweep of {TRIALS} trials")
        return {"data.path": str(self._data), "run.sweep": str(sweep), "epochs": str(EPOCHS)}

    def busy(self, workers: list[str]) -> str:
        running = [status.instance for status in self._statuses().values() if status.phase is Phase.TRAINING]
        return next((worker for worker in workers if worker in running), workers[0])

    def note(self) -> None:
        self._noted += [(trial, status) for trial, status in self._statuses().items() if not status.phase.final]

    def judge(self, made: Path) -> Outcome:
        rows = json.loads((made / "sweep/leaderboard.json").read_text())["trials"]
        done = sum(1 for row in rows if row["state"] == "finished")
        allowed = round(self._interval * max(map(_steps_a_second, rows), default=0.0))
        events = self._events()
        lost, again = [], 0
        for trial, status in self._noted:
            later = [one for one in events.get(trial, []) if one.epoch > status.epoch]
            if later:
                reached = next((one.step for one in later if one.kind == "restored"), 0)
                again = max(again, status.progress.step - reached)
                lost += [trial] if reached < status.checkpoint_step else []
        message = (
            f"{done} of {len(rows)} trials finished; steps done twice at most {again}, in {self._interval:g} s "
            f"{allowed} are done; lost of what was saved: {', '.join(lost) or 'nothing'}"
        )
        return Outcome(wanted=TRIALS, done=done, whole=not lost and again <= allowed, message=message)

    def _keys(self) -> list[str]:
        pages = self.stage.s3.get_paginator("list_objects_v2")
        answers = pages.paginate(Bucket=self.bucket, Prefix=self.stage.layout.trials)
        return [one["Key"] for page in answers for one in page.get("Contents", [])]

    def _read(self, key: str, kind: type[Any]) -> Any:
        try:
            return kind.model_validate_json(self.stage.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        except ValidationError:
            return None

    def _statuses(self) -> dict[str, Status]:
        found = {key: self._read(key, Status) for key in self._keys() if key.endswith("/status.json")}
        return {key.split("/")[3]: status for key, status in found.items() if status}

    def _events(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        for key in sorted(key for key in self._keys() if "/events/" in key):
            found.setdefault(key.split("/")[3], []).append(self._read(key, Event))
        return found
