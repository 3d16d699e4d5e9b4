from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from trainer.keypoints import load_keypoints
from trainer.record import Record, Target

MADE_FROM: dict[str, object] = {"clip": "abc", "version": 1}


def target(folder: Path) -> Target:
    return Target.under(folder, PurePosixPath("té/a.b"))


def keypoints() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    made = np.zeros((4, 2, 21, 3), np.float32)
    made[1:, 1] = 0.5
    made[2, 0] = 0.25
    return made


def test_what_is_written_is_current_and_names_presence(tmp_path: Path) -> None:
    record = Record("té/a.b.mp4", MADE_FROM, doubts=("is odd",), frames_per_second=29.97, width=8, height=6)
    written = target(tmp_path).write(record, keypoints())
    assert target(tmp_path).current(MADE_FROM) == written
    assert np.array_equal(load_keypoints(tmp_path / "té/a.b.npy"), keypoints())
    told = json.loads((tmp_path / "té/a.b.json").read_bytes())
    assert told["presence"] == [[0, 0], [0, 1], [1, 1], [0, 1]]
    assert (told["frames"], told["frames_per_second"]) == (4, 29.97)
    assert written.empty_share == 0.25
    assert sorted(path.name for path in (tmp_path / "té").iterdir()) == ["a.b.json", "a.b.npy"]


def test_anything_else_is_not_current(tmp_path: Path) -> None:
    files = target(tmp_path)
    assert files.current(MADE_FROM) is None
    files.write(Record("a", MADE_FROM), keypoints())
    assert files.current(MADE_FROM | {"clip": "abd"}) is None
    files.keypoints.write_bytes(files.keypoints.read_bytes()[:-1] + b"x")
    assert files.current(MADE_FROM) is None
    files.write(Record("a", MADE_FROM), keypoints())
    files.keypoints.unlink()
    assert files.current(MADE_FROM) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"clip": "a", "more": 1, "doubts": []}'])
def test_a_record_that_cannot_be_read_is_not_current(tmp_path: Path, content: str) -> None:
    files = target(tmp_path)
    files.write(Record("a", MADE_FROM), keypoints())
    files.record.write_text(content)
    assert files.current(MADE_FROM) is None


def test_a_failure_leaves_no_older_keypoints_or_sheet(tmp_path: Path) -> None:
    files = target(tmp_path)
    files.write(Record("a", MADE_FROM), keypoints())
    files.write_sheet(b"png")
    newer = MADE_FROM | {"clip": "abd"}
    files.write(Record("a", newer, failure="is empty"), None)
    assert [path.name for path in (tmp_path / "té").iterdir()] == ["a.b.json"]
    found = files.current(newer)
    assert found is not None
    assert found.failure == "is empty"


def test_new_keypoints_without_their_record_are_not_current(tmp_path: Path) -> None:
    """Killed between the two files, the older record does not vouch for the newer keypoints."""
    files = target(tmp_path)
    files.write(Record("a", MADE_FROM), keypoints())
    older = files.record.read_bytes()
    files.write(Record("a", MADE_FROM | {"clip": "abd"}), keypoints() * 2)
    files.record.write_bytes(older)
    assert files.current(MADE_FROM) is None
