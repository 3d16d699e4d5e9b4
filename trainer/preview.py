"""Skeletons on frames, because people would rather look than read.

Enters: a clip and its keypoints. Leaves: a contact sheet (PNG): twelve frames, cut to where the hands go, with the
left hand in blue and the right one in pink; below them a strip for each hand, coloured while it was seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from trainer.complaints import Complaints
from trainer.keypoints import Keypoints
from trainer.normalise import LEFT, RIGHT
from trainer.video import Frame, Video

Picture = NDArray[np.uint8]
"""(height, width, 3), RGB"""

FRAMES, COLUMNS, WIDTH = 12, 4, 360
COLOURS = {LEFT: (60, 140, 255), RIGHT: (255, 0, 170)}
NO_HAND = (235, 60, 60)
BONES = tuple(
    zip(
        (0, 1, 2, 3, 0, 5, 6, 7, 5, 9, 10, 11, 9, 13, 14, 15, 13, 0, 17, 18, 19),
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 17, 18, 19, 20),
        strict=True,
    )
)
"""Pairs of MediaPipe's 21 landmarks."""
_STRIP, _CAPTION = 14, 20
"""Heights of one hand's strip and of the dark ground of a caption, in pixels."""


def draw_hands(picture: Picture, hands: NDArray[np.float32]) -> None:
    """Draw (2, 21, 3) onto an RGB picture, in place; a hand that is all zeros is not drawn."""
    import cv2

    height, width = picture.shape[:2]
    thick = max(1, round(width / 180))
    for side, colour in COLOURS.items():
        if not hands[side].any():
            continue
        # Points far outside would overflow OpenCV's integers.
        points = np.clip(hands[side, :, :2] * (width, height), -10_000, 10_000).round().astype(int).tolist()
        for begin, end in BONES:
            cv2.line(picture, points[begin], points[end], colour, thick, cv2.LINE_AA)
        for point in points:
            cv2.circle(picture, point, max(1, thick // 2), (255, 255, 255), -1, cv2.LINE_AA)


def contact_sheet(path: Path, keypoints: Keypoints) -> bytes:
    """The sheet as PNG. Decodes the clip once more; holds twelve small frames at a time.

    Raises:
        DataError: the clip has fewer frames than its keypoints, or cannot be decoded.
    """
    import cv2

    left, top, size = _window(keypoints)
    wanted = set(np.linspace(0, len(keypoints) - 1, min(FRAMES, len(keypoints))).round().astype(int).tolist())
    cells = []
    with Complaints(), Video(path) as video:
        for index, frame in enumerate(video):
            if index in wanted:
                hands = keypoints[index] - ((left, top, 0) * keypoints[index].any(axis=(1, 2), keepdims=True))
                cells.append(_cell(_cut(frame, left, top, size), hands / size, f"frame {index}"))
            if len(cells) == len(wanted):
                break
    if len(cells) < len(wanted):
        raise DataError(f"{path} has changed since its keypoints were extracted", mend="extract it again")
    columns = min(COLUMNS, len(cells))
    height = max(cell.shape[0] for cell in cells)
    sheet = np.zeros((-(-len(cells) // columns) * height, columns * WIDTH, 3), np.uint8)
    for number, cell in enumerate(cells):
        top, left = number // columns * height, number % columns * WIDTH
        sheet[top : top + cell.shape[0], left : left + WIDTH] = cell
    whole = np.concatenate([sheet, _seen_strips(keypoints, sheet.shape[1])])
    _, png = cv2.imencode(".png", cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))
    return png.tobytes()


def _window(keypoints: Keypoints) -> tuple[float, float, float]:
    """Left, top and size, in shares of the image, of the part with every hand in it and room around."""
    seen = keypoints[np.any(keypoints, axis=(2, 3))][..., :2].reshape(-1, 2)
    if not len(seen):
        return 0.0, 0.0, 1.0
    low, high = seen.min(axis=0).clip(0, 1), seen.max(axis=0).clip(0, 1)
    size = min(1.0, max(0.3, 1.4 * float((high - low).max())))
    left, top = ((low + high) / 2 - size / 2).clip(0, 1 - size)
    return float(left), float(top), size


def _cut(frame: Frame, left: float, top: float, size: float) -> Picture:
    height, width = frame.shape[:2]
    row, column = int(top * height), int(left * width)
    return frame[row : row + max(1, int(size * height)), column : column + max(1, int(size * width))]


def _cell(picture: Picture, hands: NDArray[np.float32], caption: str) -> Picture:
    import cv2

    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    cell: Any = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    draw_hands(cell, hands)
    caption, colour = (caption, (255, 255, 255)) if hands.any() else (f"{caption}: no hand", NO_HAND)
    cell[:_CAPTION] //= 3
    cv2.putText(cell, caption, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return np.asarray(cell, np.uint8)


def _seen_strips(keypoints: Keypoints, width: int) -> Picture:
    """A strip for each hand: coloured where it was seen, from the first frame to the last."""
    seen: NDArray[np.bool_] = (keypoints != 0).any(axis=(2, 3))
    frames = np.arange(width) * len(keypoints) // width
    strips = [
        np.repeat(np.where(seen[frames, side, None], colour, (40, 40, 40))[None], _STRIP, axis=0)
        for side, colour in COLOURS.items()
    ]
    return np.concatenate([np.zeros((4, width, 3)), strips[0], np.zeros((2, width, 3)), strips[1]]).astype(np.uint8)
