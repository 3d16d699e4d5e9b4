"""Boxes on loopback that our SSH client can log in to: paramiko's server, with faults, and OpenSSH's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import paramiko
import pytest

from cli.keys import find_key, public_half
from cli.ssh import USER, Target
from contract.box import BoxPaths

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def new_key(folder: Path) -> paramiko.PKey:
    folder.mkdir(parents=True)
    return paramiko.Ed25519Key.from_private_key_file(str(find_key(folder).with_suffix("")))


class Server(paramiko.ServerInterface):
    """Lets one key in; opens what a box's sshd opens."""

    def __init__(self, public: str, box: FakeBox | None = None) -> None:
        self.public = public
        self.box = box
        self.tried: list[str] = []
        self.aims: dict[int, tuple[str, int]] = {}

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.tried.append(username)
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() in self.public else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: Any, destination: Any) -> int:
        self.aims[chanid] = destination
        return paramiko.OPEN_SUCCEEDED

    def check_channel_pty_request(self, *_: Any) -> bool:
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self.check_channel_exec_request(channel, b"exec /bin/sh")

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_run, args=(channel, command.decode()), daemon=True).start()
        return True


def _run(channel: paramiko.Channel, command: str) -> None:
    """As sshd does: its pipes are the channel's, and end with it."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdin and process.stdout and process.stderr

    def into() -> None:
        with contextlib.suppress(OSError), process.stdin as stdin:
            while data := channel.recv(4096):
                stdin.write(data)

    def out(pipe: Any, send: Any) -> None:
        with contextlib.suppress(OSError):
            while data := pipe.read(4096):
                send(data)

    threading.Thread(target=into, daemon=True).start()
    copies = [
        threading.Thread(target=out, args=(process.stdout, channel.sendall)),
        threading.Thread(target=out, args=(process.stderr, channel.sendall_stderr)),
    ]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join()
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.send_exit_status(process.wait() % 256)
        channel.close()
    process.stdout.close()
    process.stderr.close()


class Files(paramiko.SFTPServerInterface):
    """This machine's files, read only; faults as the box says."""

    def __init__(self, server: Server, *args: Any, **kwargs: Any) -> None:
        super().__init__(server, *args, **kwargs)
        assert server.box
        self.box = server.box

    def open(self, path: str, flags: int, attr: Any) -> Any:
        self.box.answer()
        try:
            return Handle(self.box, Path(path))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def canonicalize(self, path: str) -> str:
        self.box.answer()
        return super().canonicalize(path)

    def stat(self, path: str) -> Any:
        self.box.answer()
        try:
            return paramiko.SFTPAttributes.from_stat(Path(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)


class Handle(paramiko.SFTPHandle):
    def __init__(self, box: FakeBox, path: Path) -> None:
        super().__init__()
        self.box = box
        self.readfile = path.open("rb")
        box.opened.append(self.readfile)

    def read(self, offset: int, length: int) -> Any:
        self.box.answer()
        self.box.reads += 1
        return super().read(offset, min(length, self.box.read_bytes))

    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class FakeBox:
    """A box whose root is a folder; it can be cut off in the middle of anything, or fall silent."""

    def __init__(self, instance: str, root: Path, public: str) -> None:
        self.instance = instance
        self.paths = BoxPaths(root)
        self.paths.logs.mkdir(parents=True)
        self.host_key = new_key(root / "host")
        self.server = Server(public, self)
        self.read_bytes = 1 << 15
        """What one answer holds at most."""
        self.reads = 0
        self.drop_after: int | None = None
        """Answers until the connection breaks."""
        self.opened: list[BinaryIO] = []
        self.awake = threading.Event()
        self.awake.set()
        self.transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def log(self) -> Path:
        return self.paths.logs / "trainer.log"

    @property
    def target(self) -> Target:
        return Target(self.instance, "127.0.0.1", self.host_key, self.port)

    def write(self, data: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(data)

    def answer(self) -> None:
        """Before each answer: not while it is silent, and not after the connection is to break."""
        self.awake.wait(10)
        if self.drop_after is not None:
            self.drop_after -= 1
            if self.drop_after < 0:
                self.drop_after = None
                self.drop()

    def drop(self) -> None:
        """Every connection ends at once, as when a machine is gone."""
        for transport in self.transports:
            transport.sock.close()
            transport.close()
        self.transports.clear()

    def end(self) -> None:
        with contextlib.suppress(OSError):  # ended before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.awake.set()
        self.drop()
        for file in self.opened:
            file.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            self.transports.append(transport)
            transport.add_server_key(self.host_key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            transport.start_server(event=threading.Event(), server=self.server)
            threading.Thread(target=self._forward, args=(transport,), daemon=True).start()

    def _forward(self, transport: paramiko.Transport) -> None:
        """direct-tcpip: what a tunnel asks for."""
        while transport.is_active():
            channel = transport.accept(1)
            if channel is not None and (aim := self.server.aims.get(channel.get_id())):
                threading.Thread(target=_join, args=(channel, aim), daemon=True).start()


def _join(channel: paramiko.Channel, aim: tuple[str, int]) -> None:
    with contextlib.suppress(OSError), channel, socket.create_connection(aim) as connection:

        def back() -> None:
            with contextlib.suppress(OSError):
                while data := connection.recv(4096):
                    channel.sendall(data)
                channel.shutdown_write()

        thread = threading.Thread(target=back)
        thread.start()
        while data := channel.recv(4096):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        thread.join()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def real_sshd(folder: Path, private: Path) -> Iterator[Target]:
    """OpenSSH's own server on loopback, with a host key of its own; lets the owner of these tests in."""
    if SSHD is None:
        pytest.skip("OpenSSH's sshd is not installed here")
    host = new_key(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": find_key(folder).with_suffix(""),
        "AuthorizedKeysFile": public_half(private),
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "Subsystem": "sftp internal-sftp",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not listens(port):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            pytest.skip(f"sshd does not start here: {server.communicate()[1].strip()}")
        time.sleep(0.05)
    yield Target("i-1", "127.0.0.1", host, port)
    server.kill()
    server.communicate()


__all__ = ["SSHD", "USER", "FakeBox", "Server", "listens", "new_key", "real_sshd"]
