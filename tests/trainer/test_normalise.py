from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer.keypoints import Keypoints
from trainer.normalise import CHANNELS, SHAPE_CHANNELS, VERSION, normalise

LEADING_PRESENT, OTHER_PRESENT, VALID = SHAPE_CHANNELS + 2, 2 * SHAPE_CHANNELS + 5, CHANNELS - 1
LEADING_PATH = slice(SHAPE_CHANNELS, SHAPE_CHANNELS + 2)

seeds = st.integers(0, 2**32 - 1)
shares = st.floats(-0.5, 0.5)


def clip(seed: int, frames: int = 12) -> Keypoints:
    """Random hands of a sensible size, some of them missing."""
    random = np.random.default_rng(seed)
    wrists = random.uniform(0.3, 0.7, (frames, 2, 1, 3)) * (1, 1, 0)
    keypoints = (wrists + random.normal(0, 0.08, (frames, 2, 21, 3))).astype(np.float32)
    keypoints[random.random((frames, 2)) < 0.2] = 0
    return keypoints


def on_seen(keypoints: Keypoints, changed: np.ndarray) -> Keypoints:
    """`changed` where a hand was seen, zeros elsewhere."""
    return np.where((keypoints != 0).any(axis=(2, 3), keepdims=True), changed, 0).astype(np.float32)


def assert_same_features(one: Keypoints, other: Keypoints) -> None:
    np.testing.assert_allclose(normalise(one), normalise(other), atol=2e-3)


@given(seeds, shares, shares)
def test_a_shift_changes_nothing(seed: int, x: float, y: float) -> None:
    keypoints = clip(seed)
    assert_same_features(keypoints, on_seen(keypoints, keypoints + np.array([x, y, 0])))


@given(seeds, st.floats(0.3, 3))
def test_a_scale_changes_nothing(seed: int, scale: float) -> None:
    keypoints = clip(seed)
    assert_same_features(keypoints, keypoints * np.float32(scale))


@given(seeds)
def test_a_mirrored_signer_with_a_leading_hand_looks_the_same(seed: int) -> None:
    keypoints = clip(seed)
    keypoints[::2, 0] = 0
    keypoints[1, 0] = 0
    mirrored = on_seen(keypoints, keypoints * (-1, 1, 1) + np.array([1, 0, 0]))[:, ::-1]
    assert_same_features(keypoints, mirrored)


@given(arrays(np.float32, (3, 2, 21, 3), elements=st.floats(-2, 2, width=32)))
def test_features_are_finite_and_every_frame_is_valid(keypoints: Keypoints) -> None:
    features = normalise(keypoints)
    assert features.shape == (3, CHANNELS)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert (features[:, VALID] == 1).all()


def test_presence_channels_tell_missing_hands() -> None:
    keypoints = clip(0)
    keypoints[:, 1] = 1.0 + clip(1)[:, 1]
    keypoints[2:4, 0] = 0
    keypoints[5] = 0
    features = normalise(keypoints)
    seen = (keypoints != 0).any(axis=(2, 3))
    np.testing.assert_array_equal(features[:, LEADING_PRESENT], seen[:, 1])
    np.testing.assert_array_equal(features[:, OTHER_PRESENT], seen[:, 0])
    assert not features[5, :VALID].any()


def test_a_clip_without_hands_keeps_its_frames() -> None:
    features = normalise(np.zeros((4, 2, 21, 3), np.float32))
    assert (features[:, VALID] == 1).all()
    assert not features[:, :VALID].any()


def test_one_frame_is_enough() -> None:
    assert normalise(clip(3, frames=1)).shape == (1, CHANNELS)


def test_movement_of_the_wrist_is_kept() -> None:
    keypoints = np.repeat(clip(4, frames=1), 6, axis=0)
    keypoints[:, 0], keypoints[:, 1] = 0, 0.5 + np.random.default_rng(0).normal(0, 0.1, (21, 3))
    keypoints[:, 1, :, 0] += np.linspace(0, 0.3, 6, dtype=np.float32)[:, None]
    features = normalise(keypoints)
    travelled = np.linalg.norm(features[-1, LEADING_PATH] - features[0, LEADING_PATH])
    shape = features[:, :SHAPE_CHANNELS]
    np.testing.assert_allclose(shape, np.repeat(shape[:1], 6, axis=0), atol=1e-4)
    assert travelled > 0.5


@pytest.mark.parametrize("leading", [0, 1])
def test_the_only_hand_leads(leading: int) -> None:
    keypoints = clip(5)
    keypoints[:, 1 - leading] = 0
    features = normalise(keypoints)
    assert features[:, LEADING_PRESENT].any()
    assert not features[:, OTHER_PRESENT].any()


def test_of_two_equal_hands_the_right_one_leads() -> None:
    keypoints = clip(6)
    keypoints[:, 0] = keypoints[:, 1] * (-1, 1, 1) + np.array([1, 0, 0])
    right_path = normalise(keypoints)[:, LEADING_PATH]
    keypoints[:, 0, :, 0] += 0.2
    np.testing.assert_allclose(normalise(keypoints)[:, LEADING_PATH], right_path, atol=1e-3)


def test_the_hand_that_travels_leads() -> None:
    keypoints = np.repeat(clip(7, frames=1), 6, axis=0) + np.float32(0.01)
    keypoints[:, 0, :, 0] += np.linspace(0, 0.3, 6, dtype=np.float32)[:, None]
    assert np.linalg.norm(np.diff(normalise(keypoints)[:, LEADING_PATH], axis=0), axis=1).min() > 0.1


def test_other_features_need_another_version() -> None:
    """Whoever changes what `normalise` makes of this clip raises VERSION and writes the new numbers beside it."""
    features = normalise(clip(0)).astype(np.float64)
    frames, channels = features.shape
    weights = np.cos(np.arange(frames)[:, None] * 0.7 + np.arange(channels) * np.arange(1, 5)[:, None, None] * 0.3)
    known = {2: [15.505968, -13.048531, 9.069476, -6.316308]}
    assert VERSION in known, "write the numbers of the new version here"
    np.testing.assert_allclose(np.tensordot(weights, features), known[VERSION], rtol=1e-3)
