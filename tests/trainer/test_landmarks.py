"""In worker processes, which have no TensorFlow: importing MediaPipe here would load it."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.clips_for_tests import hand_model, moving_square, real_clips, write_video
from trainer.extract import Done, Failed, Task, extract_clip
from trainer.landmarks import MissingLibrary, Options, _explained, require_opencv
from trainer.workers import run_jobs


def task(path: Path) -> Task:
    return Task(path, path.with_suffix(".npy"), hand_model(), Options(), preview=False)


def answers(*paths: Path) -> list[Done | Failed]:
    """In one process, in this order."""
    with closing(run_jobs(extract_clip, [task(path) for path in paths], 1)) as found:
        results = [result for _, result in found]
    assert all(isinstance(result, Done | Failed) for result in results), results
    return results  # type: ignore[return-value]


def test_hands_are_found_in_real_clips_and_on_their_side() -> None:
    """BGR taken for RGB, or a mirrored image, would find few hands, or the other ones."""
    videos = real_clips()
    frames = seen = 0
    for name in ("hoy", "ambulancia"):
        (answer,) = answers(videos / name / "001.mp4")
        assert isinstance(answer, Done)
        assert answer.extracted
        clip = answer.extracted
        assert clip.doubts == ()
        assert (clip.width, clip.height, round(clip.frames_per_second or 0)) == (1280, 720, 30)
        assert clip.keypoints.dtype == np.float32
        assert np.isfinite(clip.keypoints).all()
        present = clip.keypoints.any(axis=(2, 3))
        frames, seen = frames + len(present), seen + int(present.any(axis=1).sum())
        left, right = (clip.keypoints[present[:, side], side, 0, 0] for side in (0, 1))
        if len(left) and len(right):
            assert left.mean() > right.mean()  # a person who faces the camera
    assert seen >= 0.95 * frames


def test_a_clip_is_not_changed_by_the_one_before() -> None:
    one, other = (real_clips() / name / "001.mp4" for name in ("hoy", "doctor"))
    alone, after = answers(other)[0], answers(one, other)[1]
    assert isinstance(alone, Done)
    assert isinstance(after, Done)
    assert alone.extracted
    assert after.extracted
    assert np.array_equal(alone.extracted.keypoints, after.extracted.keypoints)


def test_a_clip_without_hands_is_zeros_and_one_frame_is_enough(tmp_path: Path) -> None:
    hand_model()
    write_video(tmp_path / "none.avi", moving_square(5))
    write_video(tmp_path / "one.avi", moving_square(1))
    (tmp_path / "text.mp4").write_text("no video")
    none, one, text = answers(tmp_path / "none.avi", tmp_path / "one.avi", tmp_path / "text.mp4")
    assert isinstance(none, Done)
    assert none.extracted
    assert none.extracted.keypoints.shape == (5, 2, 21, 3)
    assert not none.extracted.keypoints.any()
    assert isinstance(one, Done)
    assert one.extracted
    assert one.extracted.keypoints.shape == (1, 2, 21, 3)
    assert text == Failed("is a text file, not a video")


def test_a_library_of_the_system_that_is_missing_is_named_with_its_mend() -> None:
    with pytest.raises(MissingLibrary) as caught, _explained():
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")
    assert "libEGL.so.1" in str(caught.value)
    assert "sudo apt install libegl1" in str(caught.value)


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingLibrary, match="make setup"):
        require_opencv()
