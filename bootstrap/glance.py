"""What may change in S3 while a box trains. Enters: how it is read. Leaves: what was read, now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from contract.errors import StorageError

T = TypeVar("T")


class Glance(Generic[T]):
    """Reads in a thread of its own: whoever looks never waits for S3."""

    def __init__(self, read: Callable[[], T | None], name: str) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._reading: Future[T | None] | None = None
        self._looked = float("-inf")

    def look(self, every_seconds: float) -> T | None:
        """What was read since the last look, if anything; begins to read again when it is time."""
        found = None
        if self._reading and self._reading.done():
            found, self._reading = self._reading.result(), None
        if not self._reading and time.monotonic() - self._looked >= every_seconds:
            self._looked = time.monotonic()
            self._reading = self._thread.submit(self.now)
        return found

    def now(self) -> T | None:
        """Read, and wait for it. S3 in trouble says nothing."""
        try:
            return self._read()
        except StorageError:
            return None
