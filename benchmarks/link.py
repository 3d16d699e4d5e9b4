"""A link to a server on this machine. Enters: its port, a rate, how much it carries. Leaves: another port.

Bytes pass untouched, in both directions together no faster than the rate (a token bucket of 20 ms), and after
`carries` bytes towards the client none at all, as when a lid is closed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

CHUNK_BYTES = 1 << 18
BURST_SECONDS = 0.02


class Link:
    def __init__(self, port: int, *, bytes_per_second: float = 0, carries: int = 0) -> None:
        """0: no limit."""
        self._target = port
        self._rate = bytes_per_second
        self._left = carries or float("inf")
        self._free_at = time.monotonic()
        self._lock = threading.Lock()
        self.cut = threading.Event()
        """Set once it has carried all that it carries."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._server]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Link:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [client, server]
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, to_client: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(CHUNK_BYTES):
                self._wait(len(content))
                if to_client:
                    self._left -= len(content)
                    if self._left < 0:
                        self.cut.set()
                        return
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    def _wait(self, count: int) -> None:
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - BURST_SECONDS) + count / self._rate
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)
