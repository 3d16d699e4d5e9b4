"""What native code says on standard error. Enters: a block of code. Leaves: a quiet terminal, and FFmpeg's complaints.

FFmpeg decodes a damaged stream to garbage without an error, but tells of it, and of why it could not
open a file. MediaPipe tells the same of every clip.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from types import TracebackType

from contract.errors import DataError

_DECODER = re.compile(r"^\[(\w+) @ 0x[0-9a-f]+\] (.+)$", re.MULTILINE)
"""Decoders. Demuxers, with commas in their names, complain of sound files, too."""
_ANY = re.compile(r"^\[[\w,]+ @ 0x[0-9a-f]+\] (.+)$", re.MULTILINE)


class Complaints:
    """A context manager: file descriptor 2 goes into a temporary file. A DataError gains FFmpeg's reason."""

    def __enter__(self) -> Complaints:
        self.text = ""
        sys.stderr.flush()
        self._log = tempfile.TemporaryFile()
        self._kept = os.dup(2)
        os.dup2(self._log.fileno(), 2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
        with self._log as log:
            log.seek(0)
            self.text = log.read().decode(errors="replace")
        said = _ANY.findall(self.text)
        if isinstance(error, DataError) and error.why and said:
            raise DataError(error.what, why=f"{error.why}; FFmpeg says: {said[-1]}", mend=error.mend) from None

    def doubts(self, frames: int) -> tuple[str, ...]:
        """That the clip is damaged, when a decoder complained in 5 % of its frames or more, and twice at least."""
        complaints = _DECODER.findall(self.text)
        if len(complaints) < max(2, 0.05 * frames):
            return ()
        codec, first = complaints[0]
        return (f"is damaged: the decoder complained {len(complaints)} times, first {codec}: {first}",)
