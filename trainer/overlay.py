"""The answer on the clip, to look at. Enters: a clip, its keypoints and a caption a frame. Leaves: an .mp4.

Skeletons as in `trainer.preview`; the caption stands on a dark ground below. Frames are streamed. Size, frame rate and
rotation are the clip's as it is shown; there is no sound. The file is decoded once more before it gets its
name, since OpenCV's writer tells neither of a full disk nor of a lost frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import DataError
from trainer.atomic import replacing
from trainer.complaints import Complaints
from trainer.keypoints import Keypoints
from trainer.landmarks import ASSUMED_RATE
from trainer.preview import Picture, draw_hands
from trainer.video import Video

CODEC = "mp4v"
"""MPEG-4 part 2: of what players know, the one that OpenCV's wheels can write in real time. They have no H.264."""
SUFFIX = ".mp4"
_TEXT, _WEIGHT = 0.06, 500
"""Height of the caption as a share of the picture's; its weight, 400 is regular."""
_SMALLEST = 12
"""Pixels."""

Caption = Callable[[int], str]
"""What stands on a frame, by its number from 0; an empty text is no caption."""


def check_target(to: Path, clip: Path) -> None:
    """Raises DataError where no overlay of the clip can be written to `to`; before hours of work, not after."""
    if to.suffix.lower() != SUFFIX:
        raise DataError(f"{to} does not end in {SUFFIX}", mend=f"name the overlay something{SUFFIX}")
    if to.exists() and clip.exists() and to.samefile(clip):
        raise DataError(f"{to} is the clip itself", mend="name another file with --overlay")
    if to.is_dir() or not to.parent.is_dir() or not os.access(to.parent, os.W_OK):
        raise DataError(f"{to} cannot be written", why="it is a folder, or there is none to write to", mend="mkdir it")


def draw_overlay(clip: Path, keypoints: Keypoints, caption: Caption, to: Path) -> None:
    """Write `to`, whole or not at all.

    Raises:
        DataError: the clip does not have as many frames as keypoints, or `to` cannot be written.
    """
    import cv2

    try:
        with Complaints(), Video(clip) as video, replacing(to) as temporary:
            writer: Any = None
            try:
                for index, picture in enumerate(video):
                    if index == len(keypoints):
                        break
                    if writer is None:
                        size = (picture.shape[1], picture.shape[0])
                        writer = _open(temporary, video.frames_per_second or ASSUMED_RATE, size)
                    draw_hands(picture, keypoints[index])
                    _write_caption(picture, caption(index))
                    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
                    writer.write(bgr if (bgr.shape[1], bgr.shape[0]) == size else cv2.resize(bgr, size))
            finally:
                if writer is not None:
                    writer.release()
            if video.frames != len(keypoints):
                raise DataError(f"{clip} has changed since its keypoints were extracted", mend="try again")
            _check(temporary, video.frames, to)
    except OSError as error:
        raise DataError(f"{to} cannot be written", why=error.strerror or str(error), mend="name another one") from None


def _open(file: Path, rate: float, size: tuple[int, int]) -> Any:
    import cv2

    writer = cv2.VideoWriter(str(file.absolute()), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), rate, size)
    if not writer.isOpened():
        raise OSError(f"OpenCV can write no {CODEC} of {size[0]}×{size[1]} there")
    return writer


def _check(written: Path, frames: int, to: Path) -> None:
    with Video(written) as video:
        readable = sum(1 for _ in video)
    if readable != frames:
        raise DataError(
            f"{to} cannot be written", why=f"{readable} of {frames} frames arrived; is the disk full?", mend="make room"
        )


def _write_caption(picture: Picture, text: str) -> None:
    """At the bottom, as large as fits; OpenCV's own font knows Latin, Cyrillic, Greek, Arabic, Chinese and more."""
    import cv2

    if not text:
        return
    height, width = picture.shape[:2]
    size, font = max(_SMALLEST, round(_TEXT * height)), cv2.FontFace("sans")
    needed = cv2.getTextSize((0, 0), text, (0, 0), font, size, _WEIGHT)[2]
    margin = size // 2
    size = max(1, min(size, int(size * (width - 2 * margin) / max(needed, 1))))
    ground = picture[-2 * size :]
    ground //= 3
    where = (margin, height - round(0.65 * size))
    cv2.putText(picture, text, where, (255, 255, 255), font, size, _WEIGHT)
    assert picture.dtype == np.uint8
