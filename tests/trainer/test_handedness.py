from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.handedness import MEMORY, Detection, resolve_sides
from trainer.normalise import LEFT, RIGHT


def hand(x: float, left: float, y: float = 0.5) -> Detection:
    """A hand of size 0.1 with its wrist at (x, y)."""
    shape = np.random.default_rng(5).uniform(0, 0.1, (21, 3))
    shape[0] = 0
    return Detection(left, (shape + np.array([x, y, 0])).astype(np.float32))


def wrists(frames: list[list[Detection]]) -> NDArray[np.float32]:
    """(frames, 2): x of each side's wrist, 0 where there is none."""
    return resolve_sides(frames)[:, :, 0, 0]


def test_clear_guesses_are_taken() -> None:
    found = wrists([[hand(0.3, 0.02), hand(0.7, 0.98)], [], [hand(0.7, 0.9)]])
    assert found == pytest.approx(np.array([[0.7, 0.3], [0, 0], [0.7, 0]]))


def test_two_hands_with_one_label_go_by_score() -> None:
    assert wrists([[hand(0.3, 0.7), hand(0.7, 0.95)]])[0] == pytest.approx((0.7, 0.3))


@pytest.mark.parametrize("label", [0.99, 0.01])
def test_two_hands_with_one_label_go_by_where_they_were(label: float) -> None:
    clear = [hand(0.3, 0.02), hand(0.7, 0.98)]
    frames = [clear] * 5 + [[hand(0.31, label), hand(0.69, label)]] * 6 + [clear] * 2
    found = wrists(frames)
    assert (found[:, RIGHT] < 0.4).all()
    assert (found[:, LEFT] > 0.6).all()


def test_one_label_from_the_first_frame_is_mended_by_what_comes() -> None:
    found = wrists([[hand(0.3, 0.97), hand(0.7, 0.96)]] * 3 + [[hand(0.3, 0.02), hand(0.7, 0.98)]] * 3)
    assert found == pytest.approx(np.array([[0.7, 0.3]] * 6))


def test_a_flicker_is_smoothed_and_a_lasting_guess_wins() -> None:
    flicker = [[hand(0.4, 0.01)]] * 6 + [[hand(0.41, 0.95)]] * 2 + [[hand(0.4, 0.01)]] * 6
    assert (wrists(flicker)[:, LEFT] == 0).all()
    lasting = [[hand(0.4, 0.01)]] * 6 + [[hand(0.41, 0.95)]] * 6
    assert (wrists(lasting)[:6, LEFT] == 0).all()
    assert (wrists(lasting)[6:, RIGHT] == 0).all()


def test_a_place_is_forgotten() -> None:
    frames = [[hand(0.4, 0.01)], *[[] for _ in range(MEMORY + 1)], [hand(0.4, 0.7)]]
    assert wrists(frames)[-1] == pytest.approx((0.4, 0))


def test_no_hand_at_all() -> None:
    assert not resolve_sides([[], [], []]).any()
    assert resolve_sides([]).shape == (0, 2, 21, 3)


guesses = st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0, 1)), max_size=2)


@given(st.lists(guesses, max_size=12))
def test_every_hand_is_kept_once(clip: list[list[tuple[float, float]]]) -> None:
    frames = [[hand(x, left) for x, left in detections] for detections in clip]
    keypoints = resolve_sides(frames)
    for frame, detections in zip(keypoints, frames, strict=True):
        kept = sorted(float(side[0, 0]) for side in frame if side.any())
        assert kept == sorted(float(detection.landmarks[0, 0]) for detection in detections)
