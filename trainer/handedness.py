"""Which hand is which. Enters: detections frame by frame, each with a guess. Leaves: keypoints (frames, 2, 21, 3).

The landmarker guesses left or right for each hand and frame alone; in 7 % of frames with two hands it
says the same of both, and a single hand flickers. Here the whole clip is decided at once: the
assignment with the least cost, where saying other than the guess costs its log-likelihood, and a hand
that is not near where it was costs as much as two frames' sure guesses. So a flicker of two frames is
smoothed and a guess that lasts wins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.keypoints import AXES, HANDS, LANDMARKS, Keypoints
from trainer.normalise import LEFT, RIGHT, WRIST

SURE = 0.98
"""Guesses are never believed more than this."""
JUMP = 8.0
"""Cost of a hand that is away from where it was by its own size or more; twice log(SURE / (1 - SURE))."""
MEMORY = 15
"""Frames after which it is forgotten where a hand was."""


@dataclass(frozen=True)
class Detection:
    left: float
    """Likelihood that it is the signer's left hand, 0 to 1."""
    landmarks: NDArray[np.float32]
    """(21, 3)"""


@dataclass(frozen=True)
class _Place:
    frame: int
    wrist: tuple[float, float]


@dataclass(frozen=True)
class _Path:
    """The cheapest way to one assignment of the newest frame."""

    cost: float
    places: tuple[_Place | None, _Place | None]
    """Where left and right were last."""


def resolve_sides(frames: Sequence[Sequence[Detection]]) -> Keypoints:
    """Left hands in slot 0, right ones in slot 1, zeros where none is. At most two detections a frame."""
    paths = [_Path(0.0, (None, None))]
    came_from: list[tuple[tuple[int, int], ...]] = []
    """Per frame and path: the path before, and the slot of the frame's first detection."""
    for number, detections in enumerate(frames):
        if not detections:
            came_from.append(tuple((index, LEFT) for index in range(len(paths))))
            continue
        best = [
            min(((_extend(path, number, detections, slot), index) for index, path in enumerate(paths)), key=_cost)
            for slot in (LEFT, RIGHT)
        ]
        paths = [path for path, _ in best]
        came_from.append(tuple((index, slot) for slot, (_, index) in zip((LEFT, RIGHT), best, strict=True)))
    keypoints = np.zeros((len(frames), HANDS, LANDMARKS, AXES), np.float32)
    current = min(range(len(paths)), key=lambda index: paths[index].cost)
    for number in reversed(range(len(frames))):
        current, slot = came_from[number][current]
        for order, detection in enumerate(frames[number]):
            keypoints[number, slot if order == 0 else 1 - slot] = detection.landmarks
    return keypoints


def _cost(candidate: tuple[_Path, int]) -> float:
    return candidate[0].cost


def _extend(path: _Path, number: int, detections: Sequence[Detection], slot: int) -> _Path:
    cost, places = path.cost, list(path.places)
    for order, detection in enumerate(detections):
        side = slot if order == 0 else 1 - slot
        believed = min(max(detection.left if side == LEFT else 1 - detection.left, 1 - SURE), SURE)
        x, y = (float(value) for value in detection.landmarks[WRIST, :2])
        cost += _jump(path.places[side], number, (x, y), detection) - math.log(believed)
        places[side] = _Place(number, (x, y))
    return _Path(cost, (places[LEFT], places[RIGHT]))


def _jump(place: _Place | None, number: int, wrist: tuple[float, float], detection: Detection) -> float:
    if place is None or number - place.frame > MEMORY:
        return JUMP
    size = float(np.ptp(detection.landmarks[:, :2], axis=0).max())
    return JUMP * min(1.0, math.dist(place.wrist, wrist) / max(size, 1e-6))
