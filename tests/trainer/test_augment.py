from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.test_normalise import clip
from trainer.augment import augment, ease
from trainer.keypoints import AXES, HANDS, LANDMARKS
from trainer.normalise import normalise

seeds = st.integers(0, 2**32 - 1)


def varied(seed: int, frames: int = 20) -> np.ndarray:
    return augment(clip(seed, frames=frames), np.random.default_rng(seed))


@given(seeds, st.integers(1, 90))
def test_a_variation_is_a_clip(seed: int, frames: int) -> None:
    keypoints = varied(seed, frames)
    assert keypoints.dtype == np.float32
    assert keypoints.shape[1:] == (HANDS, LANDMARKS, AXES)
    assert 1 <= len(keypoints) <= frames * 1.5 + 1
    assert np.isfinite(keypoints).all()
    assert np.isfinite(normalise(keypoints)).all()


@given(seeds)
def test_the_same_numbers_give_the_same_variation(seed: int) -> None:
    np.testing.assert_array_equal(varied(seed), varied(seed))


def test_two_variations_differ() -> None:
    random = np.random.default_rng(0)
    one, other = augment(clip(0), random), augment(clip(0), random)
    assert one.shape != other.shape or not np.array_equal(one, other)


@given(seeds)
def test_a_hand_that_is_never_there_stays_away(seed: int) -> None:
    keypoints = clip(seed)
    keypoints[:, 0] = 0
    seen = (augment(keypoints, np.random.default_rng(seed)) != 0).any(axis=(0, 2, 3))
    assert seen.sum() <= 1  # mirrored, it is the other slot


def test_a_clip_without_hands_stays_without() -> None:
    assert not augment(np.zeros((7, HANDS, LANDMARKS, AXES), np.float32), np.random.default_rng(0)).any()


def test_mirroring_makes_each_hand_one_of_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirrored left hand is the mirror's image in the right one's slot, and nothing else changes."""
    for name in ("BONES", "JITTER", "REACH", "DRIFT", "STRETCH", "LOST"):
        monkeypatch.setattr(f"trainer.augment.{name}", 0)
    monkeypatch.setattr("trainer.augment.TURN", (0, 0, 0))
    keypoints = clip(3)
    keypoints[5:9, 0] = 0
    for seed in range(5):
        monkeypatch.setattr("trainer.augment.MIRRORED", 0)
        as_it_was = augment(keypoints, np.random.default_rng(seed))
        monkeypatch.setattr("trainer.augment.MIRRORED", 1)
        mirrored = augment(keypoints, np.random.default_rng(seed))
        assert as_it_was.any()
        np.testing.assert_array_equal(mirrored, as_it_was[:, ::-1] * np.array([-1, 1, 1], np.float32))


def test_nothing_is_between_a_hand_seen_and_one_not_seen() -> None:
    """Half of a hand that is there and half of one that is not would be a hand at half its place."""
    keypoints = np.ones((9, HANDS, LANDMARKS, AXES), np.float32)
    keypoints[::2] = 0
    random = np.random.default_rng(0)
    values = np.concatenate([np.abs(augment(keypoints, random)).max(axis=(2, 3)).ravel() for _ in range(10)])
    assert not ((values > 0) & (values < 0.4)).any()


@pytest.mark.parametrize("frames", [1, 2, 10])
def test_ease_goes_from_the_first_value_to_the_last(frames: int) -> None:
    eased = ease(np.array([[1.0], [5.0], [2.0]]), frames)
    assert len(eased) == frames
    assert eased[0] == 1
    assert frames == 1 or eased[-1] == 2
    assert eased.max() <= 5
