"""Batches. Enters: a split, and where training stands. Leaves: right-padded arrays in a reproducible order.

The order of an epoch, and how each of its clips varies, depend on (seed, train_epoch) and on
nothing that happened before, so a position in the data is two numbers. Sequences of similar
length share a batch, so that little is computed on padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainer.augment import augment
from trainer.dataset import Split
from trainer.keypoints import Keypoints
from trainer.nonsense import nonsense
from trainer.normalise import CHANNELS, Features, normalise
from trainer.sequences import Sequences

Indices = NDArray[np.intp]
Batch = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Features (sequences, frames of the longest, CHANNELS), zero after each end; targets (sequences,)."""

POOL = 8
"""Batches that are sorted by length together: more pads less, and shuffles less."""


def epoch_order(split: Split, batch_size: int, *, seed: int, train_epoch: int) -> list[Indices]:
    """Which sequences make up each batch of one epoch; every sequence is in exactly one."""
    random = np.random.Generator(np.random.Philox(key=[seed, train_epoch]))
    lengths = split.features.lengths
    shuffled = random.permutation(len(split))
    batches = []
    for start in range(0, len(split), POOL * batch_size):
        pool = shuffled[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    return [batches[number] for number in random.permutation(len(batches))]


def evaluation_order(split: Split, batch_size: int) -> list[Indices]:
    """Every sequence once, shortest first."""
    order = np.argsort(split.features.lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def make_batch(split: Split, indices: Indices) -> Batch:
    """The sequences at `indices`, padded on the right with zeros to the longest of them."""
    return pad([split.features[index] for index in indices]), split.targets[indices]


def make_varied_batch(
    split: Split, indices: Indices, *, seed: int, train_epoch: int, nothing: int | None = None, share: float = 0
) -> Batch:
    """The same of variations of these sequences, others in every epoch.

    Where there is a label for clips without a sign, `nothing`, a `share` of them becomes hands that sign nothing.
    """
    keypoints = split.keypoints
    assert keypoints is not None, "load_dataset was not asked for augmented=True"
    varied, targets = [], split.targets[indices]
    for place, index in enumerate(indices):
        # The counter's third word sets the sequences, and its being above 0 sets all of them apart from `epoch_order`.
        philox = np.random.Philox(key=[seed, train_epoch], counter=[0, 0, 1 + int(index), 0])
        random = np.random.Generator(philox)
        clip = keypoints[index]
        if nothing is not None and random.random() < share:
            clip, targets[place] = nonsense(partial(_any_clip, keypoints, random), random), nothing
        varied.append(normalise(augment(clip, random)))
    return pad(varied), targets


def _any_clip(keypoints: Sequences, random: np.random.Generator) -> Keypoints:
    return keypoints[int(random.integers(len(keypoints)))]


def pad(sequences: Sequence[Features]) -> NDArray[np.float32]:
    """One array (sequences, frames of the longest, CHANNELS), zero after each end."""
    features = np.zeros((len(sequences), max(map(len, sequences)), CHANNELS), np.float32)
    for row, sequence in zip(features, sequences, strict=True):
        row[: len(sequence)] = sequence
    return features
