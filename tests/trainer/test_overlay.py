from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import DataError
from tests.trainer.clips_for_tests import moving_square, needs_opencv, write_video
from tests.trainer.models_for_tests import a_hand
from trainer.overlay import check_target, draw_overlay
from trainer.video import Video

PINK = (255, 0, 170)


@pytest.fixture(autouse=True)
def opencv() -> None:
    needs_opencv()


def frames_of(path: Path) -> tuple[list[NDArray[np.uint8]], float | None]:
    with Video(path) as video:
        return [frame.copy() for frame in video], video.frames_per_second


def near(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.int64]:
    """(n, 2): rows and columns of about that colour."""
    return np.argwhere(np.abs(picture.astype(int) - colour).max(axis=-1) < 60)


@pytest.mark.parametrize("rate", [12, 29.97, 60])
@pytest.mark.parametrize(("height", "width"), [(121, 161), (240, 176)])
def test_size_rate_and_frames_are_the_clips(tmp_path: Path, rate: float, height: int, width: int) -> None:
    write_video(tmp_path / "clip.avi", moving_square(9, height, width), rate=rate)
    with Video(tmp_path / "clip.avi") as video:
        decoded = next(iter(video)).shape
    draw_overlay(tmp_path / "clip.avi", a_hand(9), lambda _: "tea (97.1%)", tmp_path / "手.mp4")
    frames, told = frames_of(tmp_path / "手.mp4")
    assert len(frames) == 9
    assert told == pytest.approx(rate, rel=1e-3)
    assert frames[0].shape == decoded
    assert not list(tmp_path.glob(".*"))


def test_hand_and_caption_are_drawn(tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    write_video(clip, [np.full((240, 320, 3), 90, np.uint8)] * 4)
    keypoints = a_hand(4)
    keypoints[2:] = 0
    draw_overlay(clip, keypoints, ["señal (97.1%)", "", "señal (97.1%)", ""].__getitem__, tmp_path / "out.mp4")
    frames, _ = frames_of(tmp_path / "out.mp4")
    hands = [len(near(frame, PINK)) for frame in frames]
    assert min(hands[:2]) > 100
    assert hands[2:] == [0, 0]
    rows, columns = near(frames[0], PINK).T
    assert rows.min() > 80 and rows.max() < 160
    assert columns.min() > 110 and columns.max() < 210
    letters = [len(near(frame[200:], (255, 255, 255))) for frame in frames]
    assert letters[0] > 50
    assert letters[1] == letters[3] == 0
    assert frames[2][200:].mean() < 60 < frames[3][200:].mean()


def test_a_long_word_fits(tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    write_video(clip, [np.full((120, 160, 3), 90, np.uint8)] * 2)
    draw_overlay(clip, a_hand(2), lambda _: "so-long-a-word-that-it-would-not-fit " * 3, tmp_path / "out.mp4")
    frames, _ = frames_of(tmp_path / "out.mp4")
    assert len(near(frames[0][:, -4:], (255, 255, 255))) == 0


@pytest.mark.parametrize("width", [8, 16, 48])
def test_a_caption_too_long_for_a_tiny_clip_hides_no_more_than_its_own_lines(tmp_path: Path, width: int) -> None:
    clip = tmp_path / "clip.avi"
    write_video(clip, [np.full((48, width, 3), 200, np.uint8)])
    draw_overlay(clip, np.zeros((1, 2, 21, 3), np.float32), lambda _: "so-long-a-word " * 9, tmp_path / "out.mp4")
    (frame,), _ = frames_of(tmp_path / "out.mp4")
    assert frame.shape == (48, width, 3)
    assert frame[:32].min() > 150
    assert frame[-1].mean() < 150


def test_a_rotated_clip_stays_upright(tmp_path: Path) -> None:
    """A phone held upright stores lying frames and says: turn them."""
    write_video(tmp_path / "lying.mp4", moving_square(5, 120, 160), "mp4v")
    content = bytearray((tmp_path / "lying.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 44
    turned = (0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = b"".join(number.to_bytes(4, "big") for number in turned)
    (tmp_path / "upright.mp4").write_bytes(content)
    draw_overlay(tmp_path / "upright.mp4", a_hand(5), lambda _: "", tmp_path / "out.mp4")
    wanted, _ = frames_of(tmp_path / "upright.mp4")
    got, _ = frames_of(tmp_path / "out.mp4")
    assert wanted[0].shape == got[0].shape == (160, 120, 3)
    without_hand = np.abs(wanted[2].astype(int) - got[2])[:50]
    assert without_hand.mean() < 12


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.avi", tmp_path / "out.mp4"
    write_video(clip, moving_square(6))
    out.write_bytes(b"what was there")
    for wrong in (a_hand(5), a_hand(7)):
        with pytest.raises(DataError, match="has changed"):
            draw_overlay(clip, wrong, lambda _: "", out)
    with pytest.raises(DataError, match="is a text file"):
        (tmp_path / "text.mp4").write_text("text")
        draw_overlay(tmp_path / "text.mp4", a_hand(6), lambda _: "", out)
    assert out.read_bytes() == b"what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.avi", "out.mp4", "text.mp4"]


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    """OpenCV's writer tells nothing."""
    write_video(tmp_path / "clip.avi", moving_square(6))
    (tmp_path / ".out.mp4").symlink_to("/dev/full")
    with pytest.raises(DataError, match="cannot be written"):
        draw_overlay(tmp_path / "clip.avi", a_hand(6), lambda _: "", tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_targets_that_are_refused_beforehand(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch()
    (tmp_path / "folder.mp4").mkdir()
    for target, said in (
        (clip, "is the clip itself"),
        (tmp_path / "out.gif", "does not end in .mp4"),
        (tmp_path / "no/out.mp4", "cannot be written"),
        (clip / "out.mp4", "cannot be written"),
        (tmp_path / "folder.mp4", "cannot be written"),
    ):
        with pytest.raises(DataError, match=said):
            check_target(target, clip)
    check_target(tmp_path / "out.MP4", clip)
