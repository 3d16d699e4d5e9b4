"""Words while they are signed. Enters: frames with their times, from a camera. Leaves: each word soon after it began.

Detections of the longest window are kept, and what the model said in the last `MEMORY` seconds: cut up anew at every
stride by `trainer.timeline`, so that live and on a video a word is the same thing. Nothing is shown or stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from trainer.complaints import Complaints
from trainer.handedness import Detection, resolve_sides
from trainer.landmarks import require_opencv
from trainer.recognise import Recogniser
from trainer.timeline import Looks, Sliding, Stretch, look, stretches
from trainer.video import Frame

MEMORY = 10.0
"""Seconds."""

Track = Callable[[Frame, int], Sequence[Detection]]
"""A frame and its time in milliseconds, which grows → the hands in it."""


class Camera:
    """An open camera; iterate for frames with their time in seconds. A context manager.

    Raises:
        DataError: there is no such camera, or it gives no picture.
        MissingLibrary: OpenCV cannot be imported.
    """

    def __init__(self, number: int) -> None:
        require_opencv()
        import cv2

        with Complaints():  # OpenCV tells of every way it tried
            self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise DataError(
                f"camera {number} cannot be opened",
                why="there is none, another program has it, or this one may not use it",
                mend="plug it in, close the other program, or name another number: --camera 1",
            )
        self._number = number

    def __iter__(self) -> Iterator[tuple[float, Frame]]:
        import cv2

        began = time.monotonic()
        while True:
            there, picture = self._capture.read()
            if not there:
                raise DataError(f"camera {self._number} gives no picture", mend="plug it in again")
            yield time.monotonic() - began, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


@dataclass(frozen=True)
class _Shot:
    seconds: float
    hands: Sequence[Detection]


@dataclass(frozen=True)
class _Row:
    """As a row of `Looks`, with as many lengths as there were then."""

    word: NDArray[np.int32]
    probability: NDArray[np.float32]
    hand: bool


def watch(
    frames: Iterable[tuple[float, Frame]], track: Track, recogniser: Recogniser, sliding: Sliding
) -> Iterator[Stretch]:
    """Yield each word as soon as the newest strides say so, as it is then; it may go on."""
    shots: deque[_Shot] = deque()
    rows: deque[_Row] = deque(maxlen=max(sliding.lengths[-1], round(MEMORY / sliding.stride)))
    bounds: deque[float] = deque([0.0], maxlen=rows.maxlen + 1 if rows.maxlen else None)
    milliseconds, next_stop, said = -1, sliding.stride, ("", 0.0)
    for seconds, frame in frames:
        milliseconds = max(milliseconds + 1, int(seconds * 1000))
        shots.append(_Shot(seconds, track(frame, milliseconds)))
        if seconds < next_stop:
            continue
        next_stop = max(next_stop + sliding.stride, seconds)
        bounds.append(seconds)
        starts = [bounds[-1 - length] for length in sliding.lengths if length < len(bounds)]
        while shots[0].seconds < min([*starts, bounds[-2]]):
            shots.popleft()
        keypoints = resolve_sides([shot.hands for shot in shots])
        windows = [keypoints[[shot.seconds >= start for shot in shots]] for start in starts]
        hand = any(shot.hands for shot in shots if shot.seconds >= bounds[-2])
        rows.append(_Row(*look(windows, recogniser), hand))
        newest = stretches(_looks(rows, len(sliding.lengths)), list(bounds)[-len(rows) - 1 :], recogniser, sliding)[-1]
        if newest.word is None:
            continue
        if newest.word != said[0] or newest.start > said[1]:
            yield newest
        said = (newest.word, newest.end)


def _looks(rows: Sequence[_Row], lengths: int) -> Looks:
    """A window that began before the first row has probability 0."""
    word, probability = np.zeros((len(rows), lengths), np.int32), np.zeros((len(rows), lengths), np.float32)
    for index, row in enumerate(rows):
        word[index, : len(row.word)], probability[index, : len(row.word)] = row.word, row.probability
    return Looks(word, probability, np.array([row.hand for row in rows]))
