"""A kinematic hand for the sample. Enters: a movement. Leaves: landmarks (frames, 2, 21, 3) in palm lengths.

x goes right, y down, z away from the viewer, as in keypoint files. The leading hand is the
right one, in slot 1; the origin is its resting place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Fingers = tuple[float, ...]
"""Flexion of thumb, index, middle, ring and little finger in radians per joint: 0 stretched, 1.4 a fist."""
Angles = tuple[float, float, float]
"""Roll in the image, nod (pitch) and twist (yaw), in radians."""


@dataclass(frozen=True)
class Motion:
    """How a sign moves the leading hand from its start to its end, in palm lengths and radians."""

    start: Fingers
    end: Fingers
    turn: Angles = (0, 0, 0)
    """Turned by this from start to end."""
    swing: Angles = (0, 0, 0)
    """Swung to and fro by this, `cycles` times."""
    line: tuple[float, float] = (0, 0)
    """Travelled from start to end."""
    path: tuple[float, float] = (0, 0)
    """Half axes of the ellipse travelled `cycles` times."""
    cycles: float = 0
    flap: bool = False
    """Fingers go from start to end and back, `cycles` times, instead of once."""
    other: Fingers | None = None
    """The other hand's fingers; None: it is out of the picture."""
    mirrored: bool = False
    """The other hand mirrors the leading one's path instead of resting."""


# Base of each finger and its direction, on a right hand with the palm to the viewer and the fingers up.
_BASES = np.array([[-0.35, -0.25], [-0.30, -0.95], [-0.08, -1.0], [0.13, -0.95], [0.32, -0.85]])
_DIRECTIONS = np.array([[-0.75, -0.65], [-0.15, -0.99], [0.0, -1.0], [0.12, -0.99], [0.28, -0.96]])
_BONES = np.array([[0.35, 0.32, 0.27], [0.42, 0.26, 0.2], [0.47, 0.3, 0.21], [0.43, 0.28, 0.2], [0.33, 0.2, 0.18]])
_JOINTS = np.array([0.8, 1.0, 0.7])
"""How much of a finger's flexion each of its joints takes."""

_OTHER_PLACE = np.array([2.2, 0.8, 0.0])
"""Where the other hand rests."""


def pose_hands(motion: Motion, frames: int, random: np.random.Generator) -> Array:
    """One performance, with its own start, size and emphasis drawn from `random`."""
    phase = np.linspace(0, 1, frames) ** random.uniform(0.8, 1.25)
    eased = (1 - np.cos(np.pi * phase)) / 2
    wave = 2 * np.pi * motion.cycles * phase + random.uniform(-0.5, 0.5)
    strength = random.uniform(0.5, 1.3)

    blend = (1 - np.cos(wave)) / 2 if motion.flap else eased
    start, end = np.array(motion.start), np.array(motion.end)
    flexion = start + blend[:, None] * (end - start) + random.normal(0, 0.15, 5)
    angles = eased[:, None] * motion.turn + np.sin(wave)[:, None] * motion.swing
    angles = angles * strength + random.normal(0, 0.25, 3)
    place = eased[:, None] * motion.line + np.stack([np.cos(wave), np.sin(wave)], -1) * motion.path
    place = np.concatenate([place * strength, np.zeros((frames, 1))], axis=-1)

    hands = np.zeros((frames, 2, 21, 3))
    hands[:, 1] = _turn(_shape(flexion), angles) + place[:, None]
    if motion.other is not None:
        flexion = np.array(motion.other) + random.normal(0, 0.15, (1, 5))
        other = _turn(_shape(flexion), random.normal(0, 0.25, (1, 3))) * (-1.0, 1.0, 1.0)
        rest = _OTHER_PLACE + random.normal(0, 0.15, 3) * (1.0, 1.0, 0.0)
        path = place * (-1.0, 1.0, 1.0) if motion.mirrored else np.zeros_like(place)
        hands[:, 0] = other + rest + path[:, None]
    return hands


def _shape(flexion: Array) -> Array:
    """(frames, 5) flexions → (frames, 21, 3) landmarks of an unturned right hand with the wrist at 0."""
    bends = np.cumsum(flexion[:, :, None] * _JOINTS, axis=-1)
    along = np.cumsum(np.cos(bends) * _BONES, axis=-1)
    depth = -np.cumsum(np.sin(bends) * _BONES, axis=-1)
    tips = _BASES[:, None] + along[..., None] * _DIRECTIONS[:, None]
    joints = np.concatenate([tips, depth[..., None]], axis=-1)
    bases = np.broadcast_to(np.pad(_BASES, ((0, 0), (0, 1)))[:, None], (len(flexion), 5, 1, 3))
    fingers = np.concatenate([bases, joints], axis=2)
    return np.concatenate([np.zeros((len(flexion), 1, 3)), fingers.reshape(-1, 20, 3)], axis=1)


def _turn(points: Array, angles: Array) -> Array:
    """Turn (frames, 21, 3) about the wrist by (frames, 3) roll, nod and twist."""
    roll, nod, twist = angles.T
    zero, one = np.zeros_like(roll), np.ones_like(roll)

    def matrix(*rows: list[Array]) -> Array:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    rolled = matrix([np.cos(roll), -np.sin(roll), zero], [np.sin(roll), np.cos(roll), zero], [zero, zero, one])
    nodded = matrix([one, zero, zero], [zero, np.cos(nod), -np.sin(nod)], [zero, np.sin(nod), np.cos(nod)])
    twisted = matrix([np.cos(twist), zero, np.sin(twist)], [zero, one, zero], [-np.sin(twist), zero, np.cos(twist)])
    return points @ np.swapaxes(rolled @ nodded @ twisted, -1, -2)
