"""`signspot tunnel`: TensorBoard, Jupyter or any port of the box, on this laptop. Enters: a way into the box.

Leaves: a port of 127.0.0.1 that leads through SSH to one of the box's own 127.0.0.1; nothing listens on an address
that others could reach, at either end. When the connection breaks or the run moves to another box, the port stays and
leads there. What was started on the box ends with the tunnel.
"""

from __future__ import annotations

import secrets
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from cli import ssh
from cli.live import Client
from cli.local_port import HOST, LocalPort, local_port
from cli.reader import Watch
from cli.ssh import LOST, NotNow, Target, connect, find_target, may_pass, session, sftp, within, your_key
from contract.box import BoxPaths
from contract.errors import CloudError, SignspotError
from contract.viewer import BEAT_SECONDS, Tool, Viewing

READ_BYTES = 1 << 15
PORTS: dict[Tool, int] = {"tensorboard": 6006, "jupyter": 8888}
"""Those that people know; another one where it is taken."""
LONGEST_WAIT_SECONDS = 15.0
SIGNALLED = 128
"""From this exit code on a signal ended it."""


class Opened(BaseModel):
    """`signspot tunnel --json`: one object each time the tunnel stands, on another box maybe."""

    instance: str
    url: str
    port: int
    """On this laptop's 127.0.0.1."""
    box_port: int
    """On the box's."""

    def __str__(self) -> str:
        return f"{self.url}  leads to port {self.box_port} of {self.instance}; Ctrl-C ends it"


@dataclass(frozen=True)
class Aim:
    """What is looked at: a tool that is started on the box, or a port on which something listens there already."""

    tool: Tool | None
    port: int = 0


class Tunnel:
    """Kept open until the run is over."""

    def __init__(
        self,
        local: LocalPort,
        aim: Aim,
        find: Callable[[], Target],
        private: Path,
        opened: Callable[[Opened], None],
        say: Callable[[str], None],
        sleep: Callable[[float], None],
        *,
        user: str = ssh.USER,
        timeout: float = ssh.TIMEOUT_SECONDS,
        paths: BoxPaths = BoxPaths(),  # noqa: B008
    ) -> None:
        self._local = local
        self._aim = aim
        self._find = find
        self._private = private
        self._opened = opened
        self._say = say
        self._sleep = sleep
        self._user = user
        self._timeout = timeout
        self._command = f"cd {paths.home} && exec venv/bin/python -m bootstrap.viewer {aim.tool}"
        self._token = secrets.token_urlsafe(24)
        self._stood = False

    def run(self, is_over: Callable[[], bool]) -> None:
        """Returns when the run is over.

        Raises:
            SignspotError: it never stood; nobody but the box may answer; the tool fails.
        """
        again = Retrying(
            retry=retry_if_exception(
                lambda error: self._stood and isinstance(error, SignspotError) and may_pass(error)
            ),
            wait=wait_exponential(max=LONGEST_WAIT_SECONDS),
            stop=lambda _: is_over(),
            sleep=self._sleep,
            before_sleep=self._tell,
            retry_error_callback=lambda _: None,
        )
        again(self._open)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if isinstance(error, SignspotError):
            self._say(f"{error.what}; waiting for the box, or its replacement")

    def _open(self) -> None:
        target = self._find()
        with connect(target, self._private, self._user, self._timeout) as client:
            try:
                transport = client.get_transport()
                assert transport is not None
                with sftp(client, self._timeout) as files, self._viewer(client) as viewer:
                    port, path = viewer.wait() if viewer else (self._aim.port, "/")
                    self._local.leads_to = transport, port
                    self._stood = True
                    url = f"http://{HOST}:{self._local.port}{path}"
                    self._opened(Opened(instance=target.instance, url=url, port=self._local.port, box_port=port))
                    while True:
                        self._sleep(BEAT_SECONDS)
                        files.normalize(".")  # an answer: the connection is not half open
                        if viewer:
                            viewer.beat()
            except LOST as error:
                why = str(error) or type(error).__name__
                raise NotNow(f"the connection to {target.instance} is lost", why=why, mend="try again") from None
            finally:
                self._local.leads_to = None

    @contextmanager
    def _viewer(self, client: paramiko.SSHClient) -> Iterator[_Viewer | None]:
        """`bootstrap.viewer` on the box, where a tool is asked for: it lives as long as this is open."""
        if not self._aim.tool:
            yield None
            return
        with within(client, self._timeout):
            channel = session(client, self._timeout)
            channel.exec_command(self._command)
        with closing(channel):
            channel.sendall(f"{self._token}\n".encode())
            yield _Viewer(client, channel, self._aim.tool, self._say)


class _Viewer:
    def __init__(
        self, client: paramiko.SSHClient, channel: paramiko.Channel, tool: Tool, say: Callable[[str], None]
    ) -> None:
        self._client = client
        self._channel = channel
        self._tool = tool
        self._say = say
        self._rest = b""

    def wait(self) -> tuple[int, str]:
        """Until it is up; returns the port on the box and where a browser begins."""
        said = ""
        while True:
            for viewing in self._hear():
                if viewing.port:
                    return viewing.port, viewing.path
                if viewing.message != said:
                    said = viewing.message
                    self._say(said)
            self.beat()

    def beat(self) -> None:
        """Raises CloudError when it has ended."""
        if self._channel.exit_status_ready():
            raise self._ended()
        self._channel.sendall(b"\n")
        while self._channel.recv_ready():
            list(self._hear())

    def _hear(self) -> Iterator[Viewing]:
        heard = self._channel.recv(READ_BYTES)
        if not heard:
            raise self._ended()
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for line in lines:
            with suppress(ValidationError):
                yield Viewing.model_validate_json(line)

    def _ended(self) -> SignspotError:
        """Only what the tool itself said is no passing trouble: the box may be shutting down, this laptop slept."""
        why, code = b"", -1
        with suppress(*LOST), within(self._client, ssh.TIMEOUT_SECONDS):
            while more := self._channel.recv_stderr(READ_BYTES):
                why += more
            code = self._channel.recv_exit_status()
        if not 0 < code < SIGNALLED:
            return NotNow(f"{self._tool} is gone with the connection or the box")
        return CloudError(
            f"{self._tool} ended on the box with exit code {code}",
            why=why.decode("utf-8", "replace").strip(),
            mend="the box needs to reach the Python package index, and to have been deployed with this version",
        )


def look_at(
    tool: Tool | None,
    client: Client,
    outputs: Mapping[str, str],
    run: str,
    *,
    port: int,
    key: Path | None,
    browser: bool,
    as_json: bool,
) -> None:
    """Keeps the tunnel open until the run is over; `port` as `signspot tunnel` takes it.

    Raises:
        SignspotError: as `Tunnel.run` does.
    """
    bucket, private = outputs["Bucket"], your_key(key, Path.home())

    def find() -> Target:
        return find_target(client("s3"), client("ec2"), bucket, run)

    def is_over() -> bool:
        try:
            return Watch(client, outputs, run).look().over
        except SignspotError as error:
            if may_pass(error):
                return False
            raise

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    seen: set[str] = set()

    def opened(where: Opened) -> None:
        print(where.model_dump_json() if as_json else where, flush=True)
        if browser and sys.stdout.isatty() and where.url not in seen:
            webbrowser.open(where.url)
        seen.add(where.url)

    with local_port(port, PORTS[tool] if tool else port) as local:
        Tunnel(local, Aim(tool, port), find, private, opened, say, time.sleep).run(is_over)
    say(f"run {run} is over, and so is the tunnel")
