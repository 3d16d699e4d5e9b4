from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import DataError
from tests.trainer.clips_for_tests import moving_square, needs_opencv, write_video
from trainer.preview import COLOURS, WIDTH, contact_sheet, draw_hands


@pytest.fixture(autouse=True)
def opencv() -> None:
    needs_opencv()


def hands(x: float) -> NDArray[np.float32]:
    """(2, 21, 3): a right hand around x, no left one."""
    made = np.zeros((2, 21, 3), np.float32)
    made[1] = np.random.default_rng(3).uniform(-0.1, 0.1, (21, 3)) + np.array([x, 0.5, 0])
    return made


def decoded(png: bytes) -> NDArray[np.uint8]:
    import cv2

    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(picture, np.uint8)


def of_colour(picture: NDArray[np.uint8], side: int) -> NDArray[np.int64]:
    """(n, 2): rows and columns of just the side's colour."""
    return np.argwhere((picture == COLOURS[side]).all(axis=-1))


def test_a_hand_is_drawn_where_it_is_in_its_colour() -> None:
    picture = np.zeros((200, 400, 3), np.uint8)
    draw_hands(picture, hands(0.75))
    assert len(of_colour(picture, 0)) == 0
    rows, columns = of_colour(picture, 1).T
    assert rows.min() >= 80 and rows.max() <= 120
    assert columns.min() >= 255 and columns.max() <= 345


@pytest.mark.parametrize("x", [-5.0, 1e30])
def test_points_far_outside_do_no_harm(x: float) -> None:
    draw_hands(np.zeros((20, 40, 3), np.uint8), hands(x))


@pytest.mark.parametrize(("frames", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (5, 2, 4), (12, 3, 4), (90, 3, 4)])
def test_up_to_twelve_frames_and_a_strip_for_each_hand(tmp_path: Path, frames: int, rows: int, columns: int) -> None:
    write_video(tmp_path / "clip.avi", moving_square(frames))
    keypoints = np.stack([hands(0.3)] * frames)
    keypoints[frames // 2 + 1 :] = 0
    sheet = decoded(contact_sheet(tmp_path / "clip.avi", keypoints))
    assert sheet.shape[1] == columns * WIDTH
    assert sheet.shape[0] == rows * WIDTH * 3 // 4 + 34
    share = (sheet[-5] == COLOURS[1]).all(axis=-1).mean()
    assert share == pytest.approx((frames // 2 + 1) / frames, abs=0.01)
    assert not (sheet[-25] == COLOURS[0]).all(axis=-1).any()


def test_a_clip_that_has_shrunk_is_told(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", moving_square(5))
    with pytest.raises(DataError, match="has changed"):
        contact_sheet(tmp_path / "clip.avi", np.zeros((9, 2, 21, 3), np.float32))
