"""`signspot ssh`: a shell on the box. Enters: where it is, your key. Leaves: the exit code of what ran there.

OpenSSH's client where there is one, told to trust the published host key and nothing else; no configuration and no
known_hosts of this laptop is read or written. Where there is none, paramiko does the same.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import paramiko
from pydantic import BaseModel

from cli.ssh import KIND, LOST, TIMEOUT_SECONDS, USER, NotNow, Target, connect, session, within

STDIN, STDOUT, STDERR = range(3)
READ_BYTES = 1 << 15
FAILED = 255
"""What OpenSSH's client exits with when it was not let in, or the connection broke."""
TERMINAL = "xterm-256color"


class WayIn(BaseModel):
    """`signspot ssh --json`: how to get in, for a program that brings a client of its own."""

    instance: str
    address: str
    port: int
    user: str
    host_key: str
    """The only one to trust, as in known_hosts, without the host."""


def way_in(target: Target) -> WayIn:
    key = f"{KIND} {target.host_key.get_base64()}"
    return WayIn(instance=target.instance, address=target.address, port=target.port, user=USER, host_key=key)


def open_shell(target: Target, private: Path, command: Sequence[str], user: str = USER) -> int:
    """A shell, or `command` as OpenSSH takes it: its words joined, for the box's shell.

    Raises:
        CloudError, ConfigError: as `connect` does.
    """
    if client := shutil.which("ssh"):
        return _openssh(client, target, private, command, user)
    with connect(target, private, user) as connection:
        return _paramiko(connection, " ".join(command))


def _openssh(client: str, target: Target, private: Path, command: Sequence[str], user: str) -> int:
    with TemporaryDirectory(prefix="signspot-ssh-") as folder:
        known_hosts = Path(folder) / "known_hosts"
        known_hosts.write_text(f"{target.instance} {KIND} {target.host_key.get_base64()}\n", encoding="ascii")
        options = {
            "UserKnownHostsFile": known_hosts,
            "GlobalKnownHostsFile": os.devnull,
            "HostKeyAlias": target.instance,
            "HostKeyAlgorithms": KIND,
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "CheckHostIP": "no",
            "IdentitiesOnly": "yes",
            "PreferredAuthentications": "publickey",
            "ConnectTimeout": int(TIMEOUT_SECONDS),
            "ServerAliveInterval": int(TIMEOUT_SECONDS),
            "ServerAliveCountMax": 2,
        }
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        place = ["-i", str(private), "-p", str(target.port), "-l", user, "--", target.address]
        process = subprocess.Popen([client, "-F", "none", *settings, *place, *command])
        code = _outlast(process)
    if code == FAILED:  # of the command itself, or of the way to it: then this says which part, in words
        with connect(target, private, user):
            pass
    return code


def _outlast(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C is for OpenSSH's client: it ends then, and we after it."""
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
        else:
            return code if code >= 0 else 128 - code


def _paramiko(client: paramiko.SSHClient, command: str) -> int:
    try:
        with within(client, TIMEOUT_SECONDS):
            channel = session(client)
            if command:
                channel.exec_command(command)
            else:
                size = shutil.get_terminal_size()
                channel.get_pty(os.environ.get("TERM", TERMINAL), size.columns, size.lines)
                channel.invoke_shell()
        channel.settimeout(None)
        with _raw(not command):
            _relay(channel)
        return channel.recv_exit_status()
    except LOST as error:
        raise NotNow("the connection to the box broke", why=str(error), mend="give the same command again") from None


def _relay(channel: paramiko.Channel) -> None:
    """Between this terminal and the box, until the box is through."""
    listening: list[Any] = [channel, STDIN]
    while True:
        ready = select.select(listening, [], [])[0]
        if STDIN in ready:
            if typed := os.read(STDIN, READ_BYTES):
                channel.sendall(typed)
            else:
                listening.remove(STDIN)
                channel.shutdown_write()
        if channel in ready:
            if channel.recv_stderr_ready():
                _write(STDERR, channel.recv_stderr(READ_BYTES))
            elif said := channel.recv(READ_BYTES):
                _write(STDOUT, said)
            else:
                while said := channel.recv_stderr(READ_BYTES):
                    _write(STDERR, said)
                return


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def _raw(interactive: bool) -> Iterator[None]:
    """Every key goes to the box, Ctrl-C too."""
    if not (interactive and os.isatty(STDIN)):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(STDIN)
    try:
        tty.setraw(STDIN, termios.TCSADRAIN)  # what was typed ahead stays
        yield
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
