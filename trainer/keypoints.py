"""Keypoints of one clip. Enters: a `.npy` file. Leaves: a checked float32 array (frames, 2, 21, 3).

Axis 1 is the hand (0 left, 1 right, as the signer's own hand), axis 2 MediaPipe's 21 landmarks
(0 is the wrist), axis 3 is x, y (about 0–1 of the image, y down) and z (relative to the wrist,
in the scale of x). A hand that was not seen is all zeros.
"""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError

Keypoints = NDArray[np.float32]
"""(frames, 2, 21, 3)"""

HANDS, LANDMARKS, AXES = 2, 21, 3

_DAMAGED = (ValueError, EOFError, TypeError, SyntaxError, MemoryError, tokenize.TokenError)
"""What NumPy says of damaged bytes: its header is a piece of Python, and names the memory it wants."""

_MEND = "extract the clip again, or remove its row from the table"


def load_keypoints(path: Path) -> Keypoints:
    """Read and check one file.

    Raises:
        DataError: there is no such file, or what `parse_keypoints` refuses.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", mend="correct the path") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read", why=error.strerror or str(error), mend=_MEND) from None
    return parse_keypoints(content, str(path))


def parse_keypoints(content: bytes, name: str) -> Keypoints:
    """The array in a `.npy` file's bytes; pickled objects are never loaded.

    Raises:
        DataError: no `.npy`, not numbers, another shape than (frames, 2, 21, 3), no frame, NaN or
            infinite values. The message starts with `name`.
    """
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except _DAMAGED as error:
        raise DataError(f"{name} is not a .npy file of numbers", why=str(error), mend=_MEND) from None
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise DataError(f"{name} holds {array.dtype}, not real numbers", mend=_MEND)
    if array.ndim != 4 or array.shape[1:] != (HANDS, LANDMARKS, AXES):
        raise DataError(
            f"{name} has the shape {array.shape}, not (frames, {HANDS}, {LANDMARKS}, {AXES})",
            mend="store hands × landmarks × (x, y, z) for every frame",
        )
    if array.shape[0] == 0:
        raise DataError(f"{name} has no frame", mend=_MEND)
    finite = np.isfinite(array)
    if not finite.all():
        frame = int(np.argwhere(~finite)[0, 0])
        raise DataError(f"{name} holds NaN or infinite values, first in frame {frame}", mend=_MEND)
    with np.errstate(over="ignore"):
        keypoints = array.astype(np.float32)
    if not np.isfinite(keypoints).all():
        raise DataError(f"{name} holds values too large for float32", mend=_MEND)
    return keypoints
