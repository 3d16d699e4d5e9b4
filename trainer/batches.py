"""Batches. Enters: a split, and where training stands. Leaves: right-padded arrays in a reproducible order.

The order of an epoch depends on (seed, train_epoch) and on nothing that happened before, so a
position in the data is two numbers. Sequences of similar length share a batch, so that little
is computed on padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Split
from trainer.normalise import CHANNELS

Indices = NDArray[np.intp]
Batch = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Features (sequences, frames of the longest, CHANNELS), zero after each end; targets (sequences,)."""

POOL = 8
"""Batches that are sorted by length together: more pads less, and shuffles less."""


def epoch_order(split: Split, batch_size: int, *, seed: int, train_epoch: int) -> list[Indices]:
    """Which sequences make up each batch of one epoch; every sequence is in exactly one."""
    random = np.random.Generator(np.random.Philox(key=[seed, train_epoch]))
    lengths = np.array([len(features) for features in split.features])
    shuffled = random.permutation(len(split))
    batches = []
    for start in range(0, len(split), POOL * batch_size):
        pool = shuffled[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    return [batches[number] for number in random.permutation(len(batches))]


def make_batch(split: Split, indices: Indices) -> Batch:
    """The sequences at `indices`, padded on the right with zeros to the longest of them."""
    sequences = [split.features[index] for index in indices]
    features = np.zeros((len(sequences), max(map(len, sequences)), CHANNELS), np.float32)
    for row, sequence in zip(features, sequences, strict=True):
        row[: len(sequence)] = sequence
    return features, split.targets[indices]


def in_order(split: Split, batch_size: int) -> Iterator[tuple[Indices, Batch]]:
    """Every sequence once, shortest first, for evaluation."""
    order = np.argsort([len(features) for features in split.features], kind="stable")
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        yield indices, make_batch(split, indices)
