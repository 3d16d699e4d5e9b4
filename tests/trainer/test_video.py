from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from tests.trainer.clips_for_tests import moving_square, needs_opencv, write_video
from trainer.complaints import Complaints
from trainer.video import Video


@pytest.fixture(autouse=True)
def opencv() -> None:
    needs_opencv()


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught, Complaints(), Video(path) as video:
        list(video)
        video.check()
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.avi", "ñandú 手.MKV", "rate_%03d.mov", "x" * 251 + ".avi"])
def test_frames_are_rgb_and_all_there(tmp_path: Path, name: str) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[:, :32] = (250, 10, 10)
    write_video(tmp_path / "made.avi", [red] * 7)
    (tmp_path / "made.avi").rename(tmp_path / name)
    with Video(tmp_path / name) as video:
        means = [frame[8:40, 4:28].mean(axis=(0, 1)) for frame in video]
        assert video.check() == ()
        assert (video.frames_per_second, video.promised, video.width, video.height) == (25, 7, 64, 48)
    assert len(means) == 7
    assert all(mean[0] > 200 and mean[2] < 60 for mean in means)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"this is text\n" * 99, "is a text file"),
        ("für später\n".encode() * 99, "is a text file"),
        (b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n", "is a text file"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "is a text file"),
        (bytes(range(256)) * 64, "cannot be decoded"),
    ],
)
def test_what_is_no_video_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    assert f"clip.mp4 {said}" in refusal(tmp_path / "clip.mp4")


def test_links_that_lead_nowhere_and_devices(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "null.mp4").symlink_to("/dev/zero")
    assert "is no file" in refusal(tmp_path / "loop.mp4")
    assert "is no file" in refusal(tmp_path / "null.mp4")


def test_a_torn_download_gives_ffmpegs_reason(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", moving_square(30), "mp4v")
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "torn.mp4").write_bytes(content[: len(content) // 2])
    said = refusal(tmp_path / "torn.mp4")
    assert "cannot be decoded" in said
    assert "moov atom not found" in said


def test_a_clip_that_breaks_off(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.avi", moving_square(40))
    content = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "torn.avi").write_bytes(content[: len(content) // 2])
    with Complaints(), Video(tmp_path / "torn.avi") as video:
        frames = len(list(video))
        assert 10 < frames < 30
        assert video.check() == (f"breaks off: {frames} of 40 frames can be decoded",)


def test_one_flat_colour_is_no_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "flat.avi", [np.full((48, 64, 3), 128, np.uint8)] * 9)
    assert "one flat colour" in refusal(tmp_path / "flat.avi")


def test_zero_frames(tmp_path: Path) -> None:
    """A header that promises frames, and none behind it."""
    write_video(tmp_path / "whole.avi", moving_square(9))
    content = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "none.avi").write_bytes(content[: content.index(b"movi") + 4])
    said = refusal(tmp_path / "none.avi")
    assert "no frame can be decoded" in said or "cannot be decoded" in said


@pytest.mark.parametrize("interlaced", [False, True])
def test_interlaced_clips_are_told_from_others(tmp_path: Path, interlaced: bool) -> None:
    frames = moving_square(42, step=11)
    if interlaced:
        for even, odd in pairwise(frames):
            even[1::2] = odd[1::2]
    write_video(tmp_path / "clip.avi", frames)
    with Video(tmp_path / "clip.avi") as video:
        list(video)
        assert any("interlaced" in doubt for doubt in video.check()) == interlaced


def test_a_damaged_stream_is_told_by_the_decoder(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving_square(60), "mp4v")
    content = bytearray((tmp_path / "clip.mp4").read_bytes())
    begin = content.index(b"mdat") + 400
    random = np.random.default_rng(1)
    for place in random.integers(begin, len(content) - 3000, 40):
        content[place : place + 20] = random.bytes(20)
    (tmp_path / "clip.mp4").write_bytes(content)
    with Complaints() as complaints, Video(tmp_path / "clip.mp4") as video:
        frames = len(list(video))
    (doubt,) = complaints.doubts(frames)
    assert doubt.startswith("is damaged: the decoder complained")
    assert "mpeg4" in doubt


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    peaks = []
    for frames in (40, 400):
        write_video(tmp_path / f"{frames}.avi", moving_square(40) * (frames // 40))
        tracemalloc.start()
        with Video(tmp_path / f"{frames}.avi") as video:
            assert sum(1 for _ in video) == frames
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 120 * 160 * 3
    assert peaks[1] < peaks[0] + 120 * 160 * 3
