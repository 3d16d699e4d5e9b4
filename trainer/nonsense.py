"""Hands that sign nothing. Enters: clips of words, and random numbers. Leaves: keypoints of a clip without a word.

Whoever records clips without a sign records few kinds of them: empty rooms, resting hands. What comes up later is hands
that do something else. So training meets hands of the dataset, held or changing slowly, that stray widely
(outlier exposure, Hendrycks et al. 2019, with outliers made up; how they are made is ours, see docs/model.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainer.augment import ease
from trainer.keypoints import AXES, HANDS, LANDMARKS, Keypoints

NOTHING = "_none"
"""The label of clips without a sign, in a dataset that has such."""

BOTH = 0.35
"""Share of clips with both hands."""
WANDER = (1.2, 2.5)
"""How far a hand strays, in palm lengths: words in which a hand is held still must stay words."""
TURN = (0.5, 0.4)
"""Standard deviations of a hand's turn in the image, in radians: of the whole clip, and on the way."""
AWAY = 0.3
"""Share of hands that are out of the picture for a part of the clip."""

Points = NDArray[np.float64]


def nonsense(draw: Callable[[], Keypoints], random: np.random.Generator) -> Keypoints:
    """One clip (frames, 2, 21, 3) with at least one hand; `draw` gives a clip of a word, another each time.

    Without a hand in any of several others, the clip is empty.
    """
    clip = draw()
    found = _any_hand(draw, random)
    if found is None:
        return np.zeros_like(clip)
    first, slot = found
    points = np.zeros((len(clip), HANDS, LANDMARKS, AXES))
    palm = np.linalg.norm(first[9] - first[0])
    slots = (slot, 1 - slot) if random.random() < BOTH else (slot,)
    for hand in slots:
        poses = [_in_slot(first, slot, hand)]
        for _ in range(random.integers(3)):
            other, its_slot = _any_hand(draw, random) or found
            poses.append(_in_slot(other, its_slot, hand))
        shape = _turned(ease(np.stack([poses[0], *poses]), len(clip)), random) * palm
        place = first[0] + (hand != slot) * random.normal(0, (2, 1, 0)) * palm
        way = random.normal(0, 1, (random.integers(2, 7), AXES)) * (1, 1, 0) * palm * random.uniform(*WANDER)
        points[:, hand] = shape + place + ease(way, len(clip))[:, None]
        if random.random() < AWAY:
            begin = random.integers(len(clip))
            points[begin : begin + len(clip) // 2, hand] = 0
    return points.astype(np.float32)


def _any_hand(draw: Callable[[], Keypoints], random: np.random.Generator) -> tuple[Points, int] | None:
    """A hand (21, 3) of some frame of some clip, and its slot."""
    for _ in range(8):
        clip = draw()
        frames, slots = np.nonzero((clip != 0).any(axis=(2, 3)))
        if len(frames):
            chosen = random.integers(len(frames))
            return clip[frames[chosen], slots[chosen]].astype(np.float64), int(slots[chosen])
    return None


def _in_slot(hand: Points, slot: int, other: int) -> Points:
    """The hand from its wrist, in palm lengths; mirrored where it becomes the other hand."""
    shape = hand - hand[0]
    palm = max(float(np.linalg.norm(shape[9])), 1e-6)
    mirrored: Points = shape / palm * (-1 if slot != other else 1, 1, 1)
    return mirrored


def _turned(shape: Points, random: np.random.Generator) -> Points:
    whole, on_the_way = TURN
    angle = ease(random.normal(0, whole) + random.normal(0, on_the_way, random.integers(2, 7)), len(shape))
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y, z = np.moveaxis(shape, -1, 0)
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=-1)
