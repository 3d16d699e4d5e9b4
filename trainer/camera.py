"""Words while they are signed. Enters: frames with their times, from a camera. Leaves: each word soon after it began.

Detections of the last window are kept, and the evidence of the last `MEMORY` seconds: labelled anew at every stop by
`trainer.timeline`, so that live and on a video a word is the same thing. Nothing is shown and nothing is stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from contract.errors import DataError
from trainer.complaints import Complaints
from trainer.handedness import Detection, resolve_sides
from trainer.landmarks import require_opencv
from trainer.recognise import Recogniser
from trainer.timeline import Evidence, Sliding, Stretch, look, stretches
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


def watch(
    frames: Iterable[tuple[float, Frame]], track: Track, recogniser: Recogniser, sliding: Sliding
) -> Iterator[Stretch]:
    """Yield each word as soon as the newest stops say so, as it is then; it may go on."""
    shots: deque[_Shot] = deque()
    rows: deque[Evidence] = deque(maxlen=max(1, round(MEMORY / sliding.stride)))
    ends: deque[float] = deque([0.0], maxlen=(rows.maxlen or 0) + 1)
    milliseconds, next_stop, said = -1, sliding.stride, ("", 0.0)
    for seconds, frame in frames:
        milliseconds = max(milliseconds + 1, int(seconds * 1000))
        shots.append(_Shot(seconds, track(frame, milliseconds)))
        while shots[0].seconds < seconds - sliding.window:
            shots.popleft()
        if seconds < next_stop:
            continue
        next_stop = seconds + sliding.stride
        seen = any(shot.hands for shot in shots if abs(seconds - sliding.window / 2 - shot.seconds) < sliding.stride)
        rows.append(look([resolve_sides([shot.hands for shot in shots])], [seen], recogniser)[0])
        ends.append(max(0.0, seconds - sliding.window / 2))
        newest = stretches(np.stack(rows), list(ends), recogniser, sliding.price)[-1]
        if newest.verdict != "word" or newest.word is None:
            continue
        if newest.word != said[0] or newest.start > said[1]:
            yield newest
        said = (newest.word, newest.end)
