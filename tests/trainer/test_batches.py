from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.augment import augment
from trainer.batches import epoch_order, evaluation_order, make_batch, make_varied_batch
from trainer.dataset import Split
from trainer.normalise import CHANNELS, normalise
from trainer.sequences import Sequences


def split_of(lengths: list[int]) -> Split:
    features = [np.full((length, CHANNELS), 1 + number, np.float32) for number, length in enumerate(lengths)]
    return Split(Sequences.of(features, (CHANNELS,)), np.arange(len(lengths), dtype=np.int32))


splits = st.lists(st.integers(1, 30), min_size=1, max_size=60).map(split_of)


@given(splits, st.integers(1, 9), st.integers(0, 2**31 - 1), st.integers(0, 10_000))
def test_every_sequence_is_in_exactly_one_batch(split: Split, batch_size: int, seed: int, train_epoch: int) -> None:
    order = epoch_order(split, batch_size, seed=seed, train_epoch=train_epoch)
    assert sorted(np.concatenate(order)) == list(range(len(split)))
    assert len(order) == -(-len(split) // batch_size)
    assert max(map(len, order)) <= batch_size


def test_order_depends_on_seed_and_epoch_alone() -> None:
    split = split_of([5, 9, 3] * 20)

    def order(seed: int, train_epoch: int) -> list[list[int]]:
        return [list(batch) for batch in epoch_order(split, 4, seed=seed, train_epoch=train_epoch)]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_pad_little() -> None:
    split = split_of(list(range(1, 129)))
    order = epoch_order(split, 16, seed=0, train_epoch=0)
    frames = sum(len(indices) * make_batch(split, indices)[0].shape[1] for indices in order)
    real = split.features.lengths.sum()
    assert frames < 1.2 * real


def test_padding_is_zeros_on_the_right() -> None:
    features, targets = make_batch(split_of([2, 5, 3]), np.array([2, 0]))
    assert features.shape == (2, 3, CHANNELS)
    assert (features[0] == 3).all()
    assert (features[1, :2] == 1).all()
    assert not features[1, 2:].any()
    assert list(targets) == [2, 0]


@given(splits, st.integers(1, 9))
def test_evaluation_sees_every_sequence_once(split: Split, batch_size: int) -> None:
    seen = [index for indices in evaluation_order(split, batch_size) for index in indices]
    assert sorted(seen) == list(range(len(split)))


def keypoint_split(*lengths: int) -> Split:
    random = np.random.default_rng(0)
    clips = [random.random((length, 2, 21, 3), np.float32) for length in lengths]
    features = Sequences.of(map(normalise, clips), (CHANNELS,))
    return Split(features, np.arange(len(clips), dtype=np.int32), Sequences.of(clips, (2, 21, 3)))


def test_a_variation_depends_on_seed_epoch_and_sequence_alone() -> None:
    split = keypoint_split(9, 12, 7)

    def variation(number: int, batch: list[int], *, seed: int = 1, train_epoch: int = 2) -> bytes:
        features, targets = make_varied_batch(split, np.array(batch), seed=seed, train_epoch=train_epoch)
        row = features[list(targets).index(number)]
        return row[row.any(axis=1)].tobytes()

    assert variation(1, [0, 1, 2]) == variation(1, [1]) == variation(1, [2, 1])
    others = {variation(1, [1], seed=2), variation(1, [1], train_epoch=3), variation(0, [0]), variation(1, [1])}
    assert len(others) == 4


def test_a_variation_is_augmented_then_normalised() -> None:
    split = keypoint_split(9)
    features, _ = make_varied_batch(split, np.array([0]), seed=5, train_epoch=3)
    assert split.keypoints is not None
    philox = np.random.Philox(key=[5, 3], counter=[0, 0, 1, 0])
    expected = normalise(augment(split.keypoints[0], np.random.Generator(philox)))
    np.testing.assert_array_equal(features[0], expected)
    assert not np.array_equal(features[0], make_batch(split, np.array([0]))[0][0])


def test_a_share_of_the_clips_becomes_hands_that_sign_nothing() -> None:
    split = keypoint_split(*[3, 5] * 100)

    def batch(seed: int, share: float) -> tuple[list[bytes], NDArray[np.int32]]:
        features, targets = make_varied_batch(split, np.arange(200), seed=seed, train_epoch=3, nothing=999, share=share)
        return [row[row.any(axis=1)].tobytes() for row in features], targets

    clips, targets = batch(seed=5, share=0.3)
    again, same = batch(seed=5, share=0.3)
    _, other = batch(seed=6, share=0.3)
    assert [(each == 999).mean() for each in (targets, other)] == pytest.approx([0.3, 0.3], abs=0.1)  # 3 deviations
    assert clips == again
    assert targets.tolist() == same.tolist() != other.tolist()
    assert split.targets.tolist() == list(range(200))

    words, named = batch(seed=5, share=0)
    nothing, unnamed = batch(seed=5, share=1)
    became = targets == 999
    assert named.tolist() == list(range(200))
    assert unnamed.tolist() == [999] * 200
    assert clips == [nothing[index] if became[index] else words[index] for index in range(200)]
    assert targets.tolist() == [999 if became[index] else index for index in range(200)]
    assert not set(words) & set(nothing)
