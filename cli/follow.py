"""`signspot logs -f`: what is being written. Enters: the logs in S3, a way into the box. Leaves: each byte once.

The box that is up is read from over SSH, from the byte on that S3 has not; where there is no way in, S3 is all, some
seconds later. When the run moves to another box, the rest of the old one's log comes from S3 first. Both sides count
bytes from the log's beginning, so that nothing is lost or shown twice, however often a connection breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import paramiko

from cli import ssh
from cli.logs import Logs, Piece, Stream, everything
from cli.ssh import LOST, NotNow, Target, may_pass
from contract.box import BoxPaths
from contract.errors import CloudError, SignspotError

if TYPE_CHECKING:
    from paramiko import SFTPFile

POLL_SECONDS = 5.0
"""Between two looks at S3."""
LIVE_SECONDS = 1.0
"""Between two looks at the box's file."""
LONGEST_WAIT = 12
"""Looks at S3 between two attempts to reach a box that does not answer."""
READ_BYTES = 1 << 15
"""What an SFTP server gives at once."""


@dataclass(frozen=True)
class Look:
    """How the run is doing, before its logs are read."""

    over: bool
    instance: str
    """Its present owner; none before the first box has booted."""


class Replaced(Exception):
    """The log on the box is not the file that was read so far: it was cut, or another has its name."""


class Wire(Protocol):
    """A way to the log on one box."""

    instance: str

    def read(self, position: int) -> Iterator[Piece]:
        """From there to its present end.

        Raises:
            NotNow: the connection is gone.
            Replaced: see there; the next read is of the new file.
        """

    def close(self) -> None: ...


Dial = Callable[[str], Wire]
"""Reaches an instance; raises NotNow or NotYet when a later attempt may, and any other error when none will."""


class BoxLog:
    """A `Wire` over SFTP."""

    def __init__(self, instance: str, files: paramiko.SFTPClient, path: PurePosixPath, hang_up: ExitStack) -> None:
        self.instance = instance
        self._files = files
        self._path = str(path)
        self._hang_up = hang_up
        self._file: SFTPFile | None = None

    def close(self) -> None:
        with suppress(*LOST):
            self._hang_up.close()

    def read(self, position: int) -> Iterator[Piece]:
        with _lost(self.instance):
            try:
                file = self._file = self._file or self._files.open(self._path, "rb")
            except FileNotFoundError:
                return
            file.seek(position)
            while data := file.read(READ_BYTES):
                yield Piece(self.instance, position, data)
                position += len(data)
            if self._is_replaced(file, position):
                self._file = None
                file.close()
                raise Replaced

    def _is_replaced(self, file: SFTPFile, position: int) -> bool:
        """The name is asked first: the same file, which only grows, cannot be smaller when asked afterwards."""
        try:
            named = self._files.stat(self._path).st_size or 0
        except FileNotFoundError:
            return False  # in the middle of it
        held = file.stat().st_size or 0
        return not position <= named <= held


@contextmanager
def _lost(instance: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise CloudError(f"the log of {instance} may not be read over SSH", why=str(error)) from None
    except LOST as error:
        why = "it does not answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise NotNow(f"the connection to {instance} is lost", why=why) from None


def dial(
    find: Callable[[], Target],
    private: Callable[[], Path],
    stream: Stream,
    *,
    timeout: float = ssh.TIMEOUT_SECONDS,
    user: str = ssh.USER,
    paths: BoxPaths = BoxPaths(),  # noqa: B008
) -> Dial:
    """`find` says where the box is, `private` which key is shown to it; `timeout` in seconds, for each answer."""
    path = PurePosixPath(paths.logs / f"{stream}.log")

    def reach(instance: str) -> Wire:
        target = find()
        if target.instance != instance:
            raise NotNow(f"{target.instance} is up, and {instance} is not")
        with ExitStack() as stack:
            client = stack.enter_context(ssh.connect(target, private(), user, timeout))
            with _lost(instance):
                files = stack.enter_context(ssh.sftp(client, timeout))
            return BoxLog(instance, files, path, stack.pop_all())

    return reach


class Follower:
    """Goes on until the run is over and nothing more comes."""

    def __init__(
        self,
        source: Logs,
        look: Callable[[], Look],
        reach: Dial | None,
        sleep: Callable[[float], None],
        say: Callable[[str], None],
    ) -> None:
        self._source = source
        self._look = look
        self._reach = reach
        self._sleep = sleep
        self._say = say
        self._wire: Wire | None = None
        self._tried = ""
        """The instance that was dialled last."""
        self._refused = False
        """No further attempt will reach it."""
        self._failures = 0
        """Of the wire, in a row."""
        self._wait = 0
        """Looks at S3 until the next attempt."""
        self._offline = False

    def pieces(self) -> Iterator[Piece]:
        """Raises StorageError or CloudError when AWS refuses; while it cannot be reached at all, it is waited for."""
        try:
            while True:
                try:
                    now = self._look()  # before the logs: who ends a run, or takes it over, found them written
                    came = yield from self._before(now)
                except SignspotError as error:
                    if not may_pass(error):
                        raise
                    self._mind(error)
                    self._sleep(POLL_SECONDS)
                    continue
                self._offline = False
                if not now.over:
                    yield from self._while_it_writes(now.instance)
                elif came:
                    self._sleep(POLL_SECONDS)
                else:
                    return
        finally:
            self._hang_up()

    def _before(self, now: Look) -> Generator[Piece, None, bool]:
        """What S3 has, unless the owner's own file is open; whether there was anything."""
        came = False
        if self._wire and (now.over or now.instance != self._wire.instance):
            came = yield from self._from_box(last=True)
            self._hang_up()
        if not self._wire:
            for piece in everything(self._source):
                came = True
                yield piece
        return came

    def _while_it_writes(self, instance: str) -> Iterator[Piece]:
        if not self._wire and not self._dial(instance):
            self._sleep(POLL_SECONDS)
            return
        for _ in range(int(POLL_SECONDS / LIVE_SECONDS)):
            yield from self._from_box()
            self._sleep(LIVE_SECONDS)
            if not self._wire:
                return

    def _dial(self, instance: str) -> bool:
        """S3 has been read since this instance became the owner: no other log can still grow."""
        if not self._reach or not instance or not self._source.wants(instance):
            return False
        if instance != self._tried:
            self._tried, self._refused, self._failures, self._wait = instance, False, 0, 0
        if self._refused:
            return False
        if self._wait:
            self._wait -= 1
            return False
        try:
            self._wire = self._reach(instance)
        except SignspotError as error:
            if may_pass(error):
                self._put_off(error)
            else:
                self._refuse(error)
            return False
        self._source.close(all_but=instance)
        return True

    def _from_box(self, *, last: bool = False) -> Generator[Piece, None, bool]:
        """What has been written there; whether there was anything. The `last` time nobody is told that it is gone."""
        came = False
        if not self._wire:
            return came
        instance = self._wire.instance
        try:
            for piece in self._wire.read(self._source.position(instance)):
                self._source.know(instance, piece.offset + len(piece.data))
                came = True
                yield piece
            self._failures = 0
        except Replaced:
            self._say(
                f"warning: the log of {instance} was cut or replaced on the box after byte "
                f"{self._source.position(instance)}; what follows is read from its new beginning"
            )
            self._source.restart(instance)
        except NotNow as error:
            if not last:
                self._put_off(error)
            self._hang_up()
        except SignspotError as error:
            self._refuse(error)
            self._hang_up()
        return came

    def _put_off(self, error: SignspotError) -> None:
        if not self._failures:
            self._say(f"{error.what}{f' ({error.why})' if error.why else ''}; from S3 until it answers")
        self._wait = min(2**self._failures - 1, LONGEST_WAIT)
        self._failures += 1

    def _refuse(self, error: SignspotError) -> None:
        self._refused = True
        self._say(f"from S3: {error}")

    def _mind(self, error: SignspotError) -> None:
        if not self._offline:
            self._say(f"{error.what} ({error.why}); waiting")
        self._offline = True

    def _hang_up(self) -> None:
        if self._wire:
            self._wire.close()
            self._wire = None
