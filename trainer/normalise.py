"""Keypoints → what the model sees. Enters: (frames, 2, 21, 3). Leaves: features (frames, CHANNELS).

The same function serves training and prediction. What does not tell words apart is taken out
once per clip, so that movement within the clip stays:

- *position*: landmarks are told from their own wrist, wrists from the leading hand's mean wrist;
- *size*: everything is divided by the median palm length of the clip;
- *handedness*: when the left hand clearly leads (is seen more often, or travels further), the
  clip is mirrored and the hands swapped: the leading hand is in slot 0 and a right hand. Where
  neither leads, as in signs of two equal hands, the right one is taken;

A clip is not turned upright: where a hand points to tells words apart, and taking it out cost 1 to 3 of 100 answers
on a signer never seen (decision 0023). That a camera is tilted is learnt from tilted variations (`augment`).

Each frame: per slot 20 landmarks × 3 from the wrist, wrist x and y (its path), presence 0/1;
then one last channel that is 1 in every real frame. A hand that was not seen is zeros with
presence 0. The last channel makes no real frame all zeros: only right padding is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.keypoints import AXES, HANDS, LANDMARKS, Keypoints

Features = NDArray[np.float32]
"""(frames, CHANNELS)"""

LEFT, RIGHT = 0, 1
VERSION = 2
"""Of what this module makes of a clip. Raise it whenever the same clip gives other features: checkpoints and models
of another version are not gone on with."""

WRIST = 0
KNUCKLES = (5, 9, 13, 17)
SHAPE_CHANNELS = (LANDMARKS - 1) * AXES
CHANNELS = HANDS * (SHAPE_CHANNELS + 2 + 1) + 1

CLEARLY = 2.0

_TINY = 1e-6
"""Palms shorter than this are a point: divided by this instead of by nothing."""


def normalise(keypoints: Keypoints) -> Features:
    """Features of one clip; unchanged when it is shifted or scaled in the image, and when it is mirrored while one hand
    clearly leads.
    """
    points = keypoints.astype(np.float64)
    seen = (keypoints != 0).any(axis=(2, 3))
    if _leading_hand(points, seen) == LEFT:
        points = points * (-1.0, 1.0, 1.0)
    else:
        points, seen = points[:, ::-1], seen[:, ::-1]

    wrists = points[:, :, WRIST, :2]
    shapes = points[:, :, 1:] - points[:, :, WRIST : WRIST + 1]
    leading = seen[:, 0]
    origin = wrists[leading, 0].mean(axis=0) if leading.any() else np.zeros(2)
    paths = wrists - origin

    size = _palm_size(shapes, seen)
    shapes = shapes / size
    paths = paths / size
    shapes[~seen] = 0
    paths[~seen] = 0
    frames = len(points)
    hands = np.concatenate([shapes.reshape(frames, HANDS, SHAPE_CHANNELS), paths, seen[..., None]], axis=-1)
    valid = np.ones((frames, 1))
    return np.concatenate([hands.reshape(frames, -1), valid], axis=-1).astype(np.float32)


def _leading_hand(points: NDArray[np.float64], seen: NDArray[np.bool_]) -> int:
    """The hand that is clearly seen in more frames, else the one whose wrist clearly travels further, else the right.

    "Clearly" is `CLEARLY` times the other: in a sign of two equal hands chance must not decide.
    """
    frames_seen = seen.sum(axis=0)
    both = seen[1:] & seen[:-1]
    steps = np.linalg.norm(np.diff(points[:, :, WRIST, :2], axis=0), axis=-1)
    for left, right in (frames_seen, (steps * both).sum(axis=0)):
        if left > CLEARLY * right:
            return LEFT
        if right > CLEARLY * left:
            return RIGHT
    return RIGHT


def _palm_size(shapes: NDArray[np.float64], seen: NDArray[np.bool_]) -> float:
    """Median over frames and hands of the mean distance from wrist to knuckles; 1 when no hand is seen."""
    knuckles = shapes[:, :, [knuckle - 1 for knuckle in KNUCKLES]]
    palms = np.linalg.norm(knuckles, axis=-1).mean(axis=-1)[seen]
    return max(float(np.median(palms)), _TINY) if palms.size else 1.0
