"""Sequences on disk. Enters: arrays of any length, one after the other. Leaves: any of them again, in any order.

A dataset may be larger than memory: what it holds of a sequence in memory is where it ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError

_FLOAT = np.dtype(np.float32).itemsize


class Sequences:
    """Float32 arrays of the shape (frames, *shape).

    They lie in a temporary file without a name, which the system removes with the process, however that ends. Any
    thread may read while none appends.
    """

    def __init__(self, shape: tuple[int, ...], directory: Path | None = None) -> None:
        """`directory`: where the file is to be, on a disk rather than in memory; None: the system's place for such.

        Raises:
            DataError: no file can be made there.
        """
        self._shape = shape
        self._bytes_per_frame = _FLOAT * int(np.prod(shape))
        self._ends = array("q")
        self._directory = directory or Path(tempfile.gettempdir())
        try:
            file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        except OSError as refusal:
            raise self._unwritable(refusal) from None
        self._file = file.fileno()
        weakref.finalize(self, file.close)

    @classmethod
    def of(cls, sequences: Iterable[NDArray[Any]], shape: tuple[int, ...]) -> Sequences:
        packed = cls(shape)
        for sequence in sequences:
            packed.append(sequence)
        return packed

    def append(self, sequence: NDArray[Any]) -> None:
        """Add one (frames, *shape).

        Raises:
            DataError: it cannot be written, on a full disk say.
        """
        end = self._ends[-1] if self._ends else 0
        content = np.ascontiguousarray(sequence, np.float32).tobytes()
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(self._file, content[written:], end * self._bytes_per_frame + written)
        except OSError as refusal:
            raise self._unwritable(refusal) from None
        self._ends.append(end + len(sequence))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """The array appended as number `index`, from 0; not to be changed."""
        begin, end = self._ends[index - 1] if index else 0, self._ends[index]
        content = os.pread(self._file, (end - begin) * self._bytes_per_frame, begin * self._bytes_per_frame)
        return np.frombuffer(content, np.float32).reshape(-1, *self._shape)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each."""
        lengths = np.array(self._ends, np.int64)
        lengths[1:] -= lengths[:-1].copy()
        return lengths

    def _unwritable(self, refusal: OSError) -> DataError:
        gigabytes = (self._ends[-1] if self._ends else 0) * self._bytes_per_frame / 1e9
        return DataError(
            f"the dataset's temporary copy cannot be written in {self._directory}, after {gigabytes:.1f} GB",
            why=refusal.strerror or str(refusal),
            mend="free space there; it takes about as much as the keypoint files",
        )
