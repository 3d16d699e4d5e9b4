"""A port of this laptop. Enters: an SSH connection. Leaves: who connects there is on 127.0.0.1 of the box."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko

from cli.ssh import LOST, TIMEOUT_SECONDS
from contract.errors import ConfigError

HOST = "127.0.0.1"
READ_BYTES = 1 << 15


class LocalPort(socketserver.ThreadingTCPServer):
    """A port of this laptop's loopback that leads through an SSH connection."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), _Visit)
        self.leads_to: tuple[paramiko.Transport, int] | None = None
        """None: to nowhere just now."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Visit(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, LocalPort)
        if self.server.leads_to is None:
            return
        transport, port = self.server.leads_to
        with suppress(*LOST):
            channel = transport.open_channel("direct-tcpip", (HOST, port), self.client_address, timeout=TIMEOUT_SECONDS)
            with channel:
                back = threading.Thread(target=_copy, args=(channel, self.request), daemon=True)
                back.start()
                _copy(self.request, channel)
                back.join()


Stream = socket.socket | paramiko.Channel


def _copy(source: Stream, target: Stream) -> None:
    """Until one side ends; the other is told."""
    with suppress(*LOST):
        while data := source.recv(READ_BYTES):
            target.sendall(data)
    with suppress(*LOST):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def local_port(wanted: int, usual: int) -> Iterator[LocalPort]:
    """The port that is wanted; where none is (0), the usual one or any that is free.

    Raises:
        ConfigError: it is taken.
    """
    try:
        server = LocalPort(wanted or usual)
    except OSError as error:
        if wanted:
            raise ConfigError(
                f"port {wanted} of this laptop cannot be had", why=error.strerror or str(error), mend="--port another"
            ) from None
        server = LocalPort(0)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
