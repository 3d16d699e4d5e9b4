"""A clip → keypoints. Enters: a video file and the hand model. Leaves: keypoints (frames, 2, 21, 3) and doubts.

MediaPipe's HandLandmarker in video mode, a new one for each clip: kept, it would track a hand from one
clip into the next. Frames are streamed; what grows with the clip is half a kilobyte of keypoints a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from contract.errors import SignspotError
from trainer.ahead import ahead, step_aside
from trainer.complaints import Complaints
from trainer.handedness import Detection, resolve_sides
from trainer.keypoints import HANDS, Keypoints
from trainer.video import Frame, Video

ASSUMED_RATE = 30.0
"""Frames a second where the file does not say; the landmarker only needs times that grow."""
SYSTEM_LIBRARIES = "sudo apt install libegl1 libgles2 libgl1 libglib2.0-0"


class MissingLibrary(SignspotError):
    """This machine cannot run MediaPipe or OpenCV, whatever the clip."""


@dataclass(frozen=True)
class Options:
    """HandLandmarker's thresholds, 0 to 1; MediaPipe's defaults."""

    detection_confidence: float = 0.5
    presence_confidence: float = 0.5
    tracking_confidence: float = 0.5


@dataclass(frozen=True)
class Clip:
    keypoints: Keypoints
    frames_per_second: float | None
    """None where the file does not say."""
    width: int
    height: int
    doubts: tuple[str, ...]
    """What is suspicious about the file, each to be read after its name."""


class HandTracker:
    """Finds up to two hands in each frame of one video; a context manager.

    Raises:
        MissingLibrary: mediapipe, or a library of the system that it needs, is missing.
    """

    def __init__(self, model: Path, options: Options) -> None:
        self._mediapipe, vision = _import_mediapipe()
        settings = vision.HandLandmarkerOptions(
            base_options=self._mediapipe.tasks.BaseOptions(model_asset_path=str(model.absolute())),
            running_mode=vision.RunningMode.VIDEO,
            num_hands=HANDS,
            min_hand_detection_confidence=options.detection_confidence,
            min_hand_presence_confidence=options.presence_confidence,
            min_tracking_confidence=options.tracking_confidence,
        )
        with _explained():
            self._landmarker = vision.HandLandmarker.create_from_options(settings)

    def track(self, frame: Frame, milliseconds: int) -> tuple[Detection, ...]:
        """The hands in an RGB frame; `milliseconds` grow from call to call."""
        image = self._mediapipe.Image(self._mediapipe.ImageFormat.SRGB, frame)
        found = self._landmarker.detect_for_video(image, milliseconds)
        return tuple(
            Detection(
                guesses[0].score if guesses[0].category_name == "Left" else 1 - guesses[0].score,
                np.array([(point.x, point.y, point.z) for point in landmarks], np.float32),
            )
            for guesses, landmarks in zip(found.handedness, found.hand_landmarks, strict=True)
        )

    def __enter__(self) -> HandTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()


def read_clip(path: Path, model: Path, options: Options) -> Clip:
    """Keypoints of every frame; the next frames are decoded while hands are looked for in one.

    Raises:
        DataError: not a video, or no usable frame in it.
        MissingLibrary: this machine cannot do it.
    """
    with Complaints() as complaints:
        require_opencv()
        with Video(path) as video:
            detections = []
            coming = iter(video)
            with (
                ahead(lambda _: next(coming, None), count(), begin=step_aside) as decoded,
                HandTracker(model, options) as tracker,
            ):
                for index, frame in enumerate(decoded):
                    if frame is None:
                        break
                    moment = int(index * 1000 / (video.frames_per_second or ASSUMED_RATE))
                    detections.append(tracker.track(frame, moment))
            doubts = video.check()
    doubts += complaints.doubts(len(detections))
    return Clip(resolve_sides(detections), video.frames_per_second, video.width, video.height, doubts)


def require_opencv() -> None:
    """Raises MissingLibrary where OpenCV cannot be imported."""
    with _explained():
        import cv2  # noqa: F401


def _import_mediapipe() -> tuple[Any, Any]:
    with _explained():
        import mediapipe
        from mediapipe.tasks.python import vision

        return mediapipe, vision


@contextmanager
def _explained() -> Iterator[None]:
    """A package that is missing, or a library of the system that one of them loads, in words for people."""
    what = "MediaPipe and OpenCV do not run on this machine"
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            what, why=str(error), mend="install what requirements/laptop.txt pins: make setup"
        ) from None
    except (ImportError, OSError) as error:
        raise MissingLibrary(what, why=str(error), mend=SYSTEM_LIBRARIES) from None
