"""Clips made by OpenCV, and what extraction needs from this machine."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import DataError
from trainer.hand_model import user_cache, verify
from trainer.landmarks import SYSTEM_LIBRARIES

VIDEOS = Path(__file__).parents[3] / "shared/data/videos"
"""Real clips of signed words; not part of the project."""
MODEL = user_cache(os.environ) / "hand_landmarker.task"


def needs_opencv() -> None:
    pytest.importorskip(
        "cv2", reason="OpenCV, or a library of the system that it needs, is missing", exc_type=ImportError
    )


def hand_model() -> Path:
    """The verified model in this user's cache; nothing is fetched by a test. Skips without what MediaPipe needs."""
    needs_opencv()
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("MediaPipe is not installed")
    for library in ("libEGL.so.1", "libGLESv2.so.2") if sys.platform == "linux" else ():
        try:
            ctypes.CDLL(library)
        except OSError:
            pytest.skip(f"MediaPipe needs {library}: {SYSTEM_LIBRARIES}")
    try:
        verify(MODEL)
    except DataError:
        pytest.skip("no hand model in the cache; `python -m trainer.hand_model` fetches it")
    return MODEL


def real_clips() -> Path:
    if not VIDEOS.is_dir():
        pytest.skip("no real clips: ../shared/data/videos is absent")
    return VIDEOS


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], codec: str = "MJPG", rate: float = 25) -> None:
    """RGB frames of one size into a file, by the codec's four letters."""
    import cv2

    writer = None
    for frame in frames:
        if writer is None:
            size = (frame.shape[1], frame.shape[0])
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, size)
            assert writer.isOpened()
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    assert writer is not None
    writer.release()


def moving_square(frames: int, height: int = 120, width: int = 160, step: int = 6) -> list[NDArray[np.uint8]]:
    """A light square that travels right over dark noise."""
    ground = np.random.default_rng(0).integers(0, 30, (height, width, 3)).astype(np.uint8)
    pictures = []
    for index in range(frames):
        picture = ground.copy()
        left = index * step % (width - 60)
        picture[30:90, left : left + 60] = (240, 200, 60)
        pictures.append(picture)
    return pictures
