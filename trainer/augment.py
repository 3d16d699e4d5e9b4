"""Augmentation. Enters: the keypoints of one clip and random numbers. Leaves: keypoints of a clip that could have been.

What a word keeps when another person signs it elsewhere: other pace and cut, other hands, another camera, hands lost
for a while. In the coordinates of the file, before `normalise`, which takes out what it can; what it cannot is learnt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.keypoints import AXES, HANDS, LANDMARKS, Keypoints

PACE = (0.7, 1.4)
"""Speed, against the clip's own."""
CROP = 0.1
"""Of the clip, at most, cut off at either end."""
WARP = 0.35
"""How much faster or slower than on average a clip may get on its way; below 1, time never runs backwards."""
MIRRORED = 0.3
"""Share of clips that are mirrored, as if signed with the other hand."""
TURN = (np.radians(15), np.radians(15), np.radians(20))
"""Standard deviations of the camera's turn about the axes x, y and z."""
STRETCH = 0.12
"""Standard deviation of the logarithm of each axis's scale: the shape of the image and of the hand."""
BONES = 0.04
"""Standard deviation of a landmark's place on another person's hand, in palm lengths; the same in all frames."""
JITTER = 0.015
"""Standard deviation of what varies from frame to frame, in palm lengths."""
REACH = 0.25
"""Standard deviation of the logarithm of how far the hands travel."""
DRIFT = 0.25
"""Standard deviation of how far a hand strays from its way, in palm lengths."""
LOST = 0.2
"""Share of frames, at most, in which a hand is not seen although it is there."""

Points = NDArray[np.float64]


def augment(keypoints: Keypoints, random: np.random.Generator) -> Keypoints:
    """Another performance (frames, 2, 21, 3) of the same word; its number of frames may differ, and is at least 1.

    A hand that is missing, all zeros, stays missing; the same random numbers give the same performance.
    """
    points = _retime(keypoints.astype(np.float64), random)
    seen = (points != 0).any(axis=(2, 3))
    if random.random() < MIRRORED:
        points, seen = points[:, ::-1] * (-1.0, 1.0, 1.0), seen[:, ::-1]
    palm = _palm(points, seen)
    points = points + palm * (
        random.normal(0, BONES, (1, HANDS, LANDMARKS, AXES)) + random.normal(0, JITTER, points.shape)
    )
    wrists = points[:, :, :1]
    shapes = points - wrists
    if seen.any():
        middle = wrists[seen].mean(axis=0)
        wrists = middle + (wrists - middle) * np.exp(random.normal(0, REACH)) + palm * _stray(len(points), random)
    camera = _camera(random)
    points = wrists @ _in_plane(camera) + shapes @ camera
    seen = seen & (random.random(seen.shape) >= random.uniform(0, LOST) * (random.random() < 0.5))
    points[~seen] = 0
    return points.astype(np.float32)


def _retime(points: Points, random: np.random.Generator) -> Points:
    """Cut, quicken or slow, and warp the time of a clip; between two frames landmarks move in a straight line."""
    frames = len(points)
    begin, end = random.uniform(0, CROP), 1 - random.uniform(0, CROP)
    length = max(1, round(frames * (end - begin) / random.uniform(*PACE)))
    phase = np.linspace(0, 1, length)
    phase = phase + random.uniform(-WARP, WARP) * np.sin(2 * np.pi * phase) / (2 * np.pi)
    at = (begin + (end - begin) * phase) * (frames - 1)
    before = at.astype(np.intp)
    after = np.minimum(before + 1, frames - 1)
    share = (at - before)[:, None, None, None]
    seen = (points != 0).any(axis=(2, 3))
    between = points[before] * (1 - share) + points[after] * share
    nearest = points[np.where(share[:, 0, 0, 0] < 0.5, before, after)]
    both = (seen[before] & seen[after])[:, :, None, None]
    return np.where(both, between, nearest)


def _palm(points: Points, seen: NDArray[np.bool_]) -> float:
    """Median distance from wrist to the middle finger's knuckle; 0 when no hand is seen."""
    palms = np.linalg.norm(points[:, :, 9] - points[:, :, 0], axis=-1)[seen]
    return float(np.median(palms)) if palms.size else 0.0


def _stray(frames: int, random: np.random.Generator) -> Points:
    """(frames, 2, 1, 3): each hand's smooth way off its way, in x and y."""
    offsets = random.normal(0, DRIFT, (random.integers(2, 6), HANDS, 1, AXES)) * (1, 1, 0)
    return ease(offsets, frames)


def ease(values: Points, frames: int) -> Points:
    """From the first of at least two values to the last, smoothly and with a rest at each (smoothstep)."""
    at = np.linspace(0, len(values) - 1, frames)
    before = np.minimum(at.astype(np.intp), len(values) - 2)
    share = (at - before).reshape(-1, *[1] * (values.ndim - 1))
    share = share * share * (3 - 2 * share)
    eased: Points = values[before] * (1 - share) + values[before + 1] * share
    return eased


def _camera(random: np.random.Generator) -> Points:
    """(3, 3): a turn and a stretch, multiplied from the right."""
    (cx, cy, cz), (sx, sy, sz) = (function(random.normal(0, TURN)) for function in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    turn: Points = about_x @ about_y @ about_z @ np.diag(np.exp(random.normal(0, STRETCH, AXES)))
    return turn


def _in_plane(camera: Points) -> Points:
    """What the camera does to places in the image; how far the hands are from it is not known."""
    flat = camera.copy()
    flat[2], flat[:, 2] = 0, 0
    return flat
