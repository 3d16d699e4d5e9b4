"""What a campaign counts as done twice, from what the boxes left on their disks."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.chaos import Campaign, Hit, Play
from cli.rehearsal_screen import Screen
from contract.box import BoxPaths
from contract.status import Progress
from rehearsal.faults import FAULTS


def box(folder: Path, log: str, step: int) -> Any:
    root = BoxPaths(folder)
    root.logs.mkdir(parents=True)
    (root.logs / "trainer.log").write_text(log)
    if step:
        root.progress.parent.mkdir(parents=True, exist_ok=True)
        root.progress.write_text(Progress(step=step).model_dump_json())
    return SimpleNamespace(sandbox=SimpleNamespace(root=root), instance_id=folder.name, ended_monotonic=1.0)


def fetch_model(_bucket: str, model: Path) -> None:
    model.mkdir()
    with zipfile.ZipFile(model / "model.keras", "w") as archive:
        archive.writestr("model.weights.h5", "weights")


@pytest.mark.parametrize(
    ("fault", "logs", "steps", "twice"),
    [
        ("trainer killed", ["resumed at step 30\n"], [90], [10]),
        ("trainer killed", ["3 words\n3 words\n"], [90], [40]),
        ("kill", ["", "resumed at step 30\n"], [40, 90], [10]),
        ("kill", ["", "3 words\n"], [40, 90], [40]),
        ("kill", ["", "", "resumed at step 30\n"], [40, 0, 90], [10]),
        ("zombie box", ["", ""], [90, 0], [0]),
    ],
)
def test_what_began_anew_did_all_its_steps_twice(
    tmp_path: Path, fault: str, logs: list[str], steps: list[int], twice: list[int]
) -> None:
    boxes = [box(tmp_path / str(number), *one) for number, one in enumerate(zip(logs, steps, strict=True))]
    stage: Any = SimpleNamespace(
        datacenter=SimpleNamespace(boxes=boxes), events=[], work=tmp_path, fetch_model=fetch_model
    )
    trace: Any = SimpleNamespace(steps={}, first_after=lambda *_: 9.0)
    chosen = next(one for one in FAULTS if one.name == fault)
    play = Play(Campaign(None, 1, 0, "auto", fault, tmp_path), tmp_path, chosen, Screen())
    play.hits = [Hit(boxes[0], chosen, 1.0, 40)]
    assert play._played(stage, trace, "bucket").twice == twice
