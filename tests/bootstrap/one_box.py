"""The life of a box without an agent: everything that it persists, in one process that may be killed anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fake_s3 import FakeS3, Folder

from bootstrap.metadata import Metadata
from bootstrap.report import leave_report
from bootstrap.snapshot import snapshot
from bootstrap.state import Box
from bootstrap.store import RunStore
from bootstrap.sync import event_of, sync
from bootstrap.takeover import restore, take_over
from contract import failpoints
from contract.box import BoxPaths
from contract.config import TrainerConfig, load_config
from contract.status import Phase
from trainer.checkpoint import Checkpoint, Origin, newest_checkpoint, write_checkpoint
from trainer.state import State

ORIGIN = Origin(fingerprint="f" * 64, labels=("yes", "no"), settings=TrainerConfig())


class NoMetadata(Metadata):
    def get(self, path: str) -> str | None:
        return None


def box_in(folder: Path, instance: str) -> Box:
    paths = BoxPaths(folder / instance)
    for directory in (paths.logs, paths.checkpoints, paths.model, paths.output):
        directory.mkdir(parents=True, exist_ok=True)
    client = FakeS3(Folder(folder / "bucket")).client()
    store = RunStore(client, "bucket", "demo", at_once=1)  # type: ignore[arg-type]
    config = load_config(None, {"run": "demo", "keep_checkpoints": "2"})
    return Box(paths, config, "bucket", "", "", instance, store, {})


def live(folder: Path, instance: str, *, checkpoints: int, finish: bool) -> int:
    """Take over, restore, save so many checkpoints, perhaps finish. Returns the step it began at."""
    box = box_in(folder, instance)
    previous = box.store.read_status()
    if previous and previous.phase.final:
        return previous.checkpoint_step
    take_over(box, NoMetadata(), previous)
    restore(box, lambda _: None)
    box.enter(Phase.TRAINING)
    found = newest_checkpoint(box.paths.checkpoints)
    began = found.state.step if found else 0
    for step in range(began + 1, began + 1 + checkpoints):
        weights = [np.full(8, step, np.float32)]
        write_checkpoint(box.paths.checkpoints, Checkpoint(ORIGIN, State(step=step), weights, weights))
        with (box.paths.logs / "trainer.log").open("a") as log:
            log.write(f"step {step}\n")
        sync(box)
    box.store.add_event(event_of(box, "test", "so far"))
    if finish:
        (box.paths.model / "model.keras").write_text(f"model of step {began + checkpoints}")
        with snapshot(box.paths.model, box.paths.state / "staging") as files:
            box.store.commit_model(files, began + checkpoints, box.load().lease)
        box.enter(Phase.DONE)
        leave_report(box)
        sync(box)
    return began


def die(folder: Path, instance: str, failpoint: str) -> None:
    failpoints.armed = failpoint
    live(folder, instance, checkpoints=3, finish=True)
