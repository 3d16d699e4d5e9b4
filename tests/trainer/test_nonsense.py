from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.test_normalise import clip
from trainer.keypoints import Keypoints
from trainer.nonsense import nonsense
from trainer.normalise import normalise


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_hands_that_sign_nothing_are_a_clip(seed: int, frames: int) -> None:
    random = np.random.default_rng(seed)
    made = nonsense(lambda: clip(int(random.integers(1000)), frames=frames), random)
    assert made.shape == (frames, 2, 21, 3)
    assert made.dtype == np.float32
    assert np.isfinite(normalise(made)).all()


def test_they_stray_further_than_a_hand_held_still() -> None:
    still = np.repeat(clip(1, frames=1), 20, axis=0)
    ways = []
    for seed in range(20):
        made = nonsense(lambda: still, np.random.default_rng(seed))
        palm = np.linalg.norm(still[0, 1, 9] - still[0, 1, 0])
        seen = made[(made != 0).any(axis=(1, 2, 3))]
        ways.append(np.ptp(seen[:, :, 0, :2], axis=0).max() / palm)
    assert np.median(ways) > 1


def test_a_dataset_of_empty_clips_gives_an_empty_one() -> None:
    def empty() -> Keypoints:
        return np.zeros((5, 2, 21, 3), np.float32)

    assert not nonsense(empty, np.random.default_rng(0)).any()


def test_a_word_among_empty_clips_does_not_become_nothing_as_it_is() -> None:
    empty = np.zeros((5, 2, 21, 3), np.float32)
    clips = iter([clip(1, frames=9), *[empty] * 8])
    made = nonsense(lambda: next(clips), np.random.default_rng(0))
    assert made.shape == (9, 2, 21, 3)
    assert made.dtype == np.float32
    assert not made.any()


@pytest.mark.parametrize("seed", range(3))
def test_the_same_numbers_give_the_same_clip(seed: int) -> None:
    one, other = (nonsense(lambda: clip(seed), np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
