from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from tests.trainer.models_for_tests import a_hand
from trainer.extract import Answer, Done, Failed, Missing, Task
from trainer.landmarks import Clip, MissingLibrary, Options
from trainer.sources import Seen, find_sources, look_at

BINARY = bytes(range(256))


ANSWERS: dict[str, Answer] = {
    "good.mp4": Done(Clip(a_hand(9), None, 64, 48, ()), None),
    "té/手.WEBM": Done(Clip(a_hand(4), 25.0, 64, 48, ("is interlaced",)), None),
    "fails.mov": Failed("cannot be decoded"),
    "lacks.mp4": Missing("OpenCV does not run", "libGL", "apt install it"),
}
"""Of the clips by these names; any other one's job crashes."""


def found(path: Path) -> dict[str, Seen | DataError]:
    folder = path if path.is_dir() else path.parent
    # What a dictionary says of its keys can be pickled; a function of a test cannot.
    job = {
        Task(folder / name, folder / name, Path("model"), Options(), preview=False): answer
        for name, answer in ANSWERS.items()
    }.__getitem__
    return {source.name: seen for source, seen in look_at(find_sources(path), lambda: Path("model"), 2, job)}


def test_a_broken_one_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "té").mkdir()
    for name in ("good.mp4", "té/手.WEBM", "fails.mov", "crashes.avi"):
        (tmp_path / name).write_bytes(BINARY)
    np.save(tmp_path / "keypoints.npy", a_hand(3))
    np.save(tmp_path / "nan.npy", np.full((3, 2, 21, 3), np.nan, np.float32))
    np.save(tmp_path / "wrong.npy", np.zeros((3, 21, 3), np.float32))
    np.save(tmp_path / "none.npy", np.zeros((0, 2, 21, 3), np.float32))
    (tmp_path / "notes.txt").touch()
    seen = found(tmp_path)
    wrong = {name: each.what for name, each in seen.items() if isinstance(each, DataError)}
    assert wrong == {
        "crashes.avi": wrong["crashes.avi"],
        "fails.mov": "cannot be decoded",
        "nan.npy": "holds NaN or infinite values, first in frame 0",
        "none.npy": "has no frame",
        "wrong.npy": "has the shape (3, 21, 3), not (frames, 2, 21, 3)",
    }
    assert wrong["crashes.avi"].startswith("could not be processed (KeyError: ")
    clip = seen["té/手.WEBM"]
    assert isinstance(clip, Seen)
    assert (len(clip.keypoints), clip.frames_per_second, clip.doubts) == (4, 25.0, ("is interlaced",))
    assert seen.keys() - wrong.keys() == {"good.mp4", "té/手.WEBM", "keypoints.npy"}


def test_a_machine_that_cannot_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "lacks.mp4").write_bytes(BINARY)
    with pytest.raises(MissingLibrary, match="apt install it"):
        found(tmp_path / "lacks.mp4")


def test_keypoints_need_no_hand_model(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", a_hand(3))

    def no_model() -> Path:
        raise AssertionError

    ((_, seen),) = look_at(find_sources(tmp_path / "a.npy"), no_model, 1)
    assert isinstance(seen, Seen)
    assert seen.frames_per_second is None


@pytest.mark.parametrize(
    ("record", "rate"),
    [
        ({"frames_per_second": 12.5}, 12.5),
        ({"frames_per_second": None}, None),
        ({"frames_per_second": -1}, None),
        ([], None),
        ("x", None),
    ],
)
def test_the_rate_is_taken_from_the_record_beside(tmp_path: Path, record: object, rate: float | None) -> None:
    np.save(tmp_path / "a.npy", a_hand(3))
    (tmp_path / "a.json").write_text(json.dumps(record))
    seen = found(tmp_path / "a.npy")[str(tmp_path / "a.npy")]
    assert isinstance(seen, Seen)
    assert seen.frames_per_second == rate


def test_what_cannot_be_meant_is_said_at_once(tmp_path: Path) -> None:
    for name, content, said in (
        ("notes.txt", b"text", "neither a clip nor a keypoint file"),
        ("text.mp4", b"text", "is a text file, not a video"),
        ("empty.mp4", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=said):
            find_sources(tmp_path / name)
    with pytest.raises(DataError, match="does not exist"):
        find_sources(tmp_path / "gone.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="holds no clip"):
        find_sources(tmp_path / "folder")
