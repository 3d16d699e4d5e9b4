"""The box's SSH host key. Enters: what sshd made at its first start. Leaves: its public half under the run's prefix.

A client pins it, so that nobody has to trust a box on first sight.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bootstrap.patience import Patience
from bootstrap.state import Box
from bootstrap.voice import Voice
from contract.errors import StorageError

WAIT_SECONDS = 120
"""For sshd to make its key. An image without sshd has none, and nobody can log in there."""
FIRST_SECONDS = 5.0
"""What `booting` waits for a key that is there."""


class HostKey:
    def __init__(self, box: Box, voice: Voice, patiently: Patience, sleep: Callable[[float], None]) -> None:
        self._box = box
        self._voice = voice
        self._patiently = patiently
        self._sleep = sleep
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="host key")

    def publish(self) -> None:
        """In the background; returns when it has been done, where that is soon. Nothing fails because of it."""
        published: Future[None] = self._thread.submit(self._publish)
        if self._read():
            wait([published], FIRST_SECONDS)

    def close(self) -> None:
        self._closed.set()
        self._thread.shutdown(wait=False)

    def _publish(self) -> None:
        began = time.monotonic()
        while not (key := self._read()):
            if self._closed.is_set() or time.monotonic() - began > WAIT_SECONDS:
                return
            self._sleep(1.0)
        try:
            self._patiently(lambda: self._box.store.put_host_key(self._box.instance, key))
        except StorageError as error:
            self._voice.tell("warning", f"the SSH host key is not in S3, so no client can pin it: {error.what}")

    def _read(self) -> bytes:
        """The whole line, or nothing."""
        try:
            key = self._box.paths.host_key.read_bytes()
        except OSError:
            return b""
        return key if key.startswith(b"ssh-ed25519 ") and key.endswith(b"\n") else b""
