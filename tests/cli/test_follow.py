"""`signspot logs -f`: over SSH and from S3 together, each byte once, whatever happens to connections and boxes."""

from __future__ import annotations

import getpass
import io
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from cli.follow import BoxLog, Dial, Follower, Look, Replaced, Wire, dial
from cli.keys import public_half
from cli.logs import Logs, Piece
from cli.reader import Writer, read_logs
from cli.ssh import NotNow, Target
from contract.box import BoxPaths
from contract.errors import CloudError, ConfigError, SignspotError, StorageError
from contract.layout import RunLayout
from contract.status import Phase, Status
from tests.cli.boxes import FakeBox, new_key, real_sshd

LAYOUT = RunLayout("demo")
TIMEOUT = 5.0
SILENCE = 1.0
OUTPUTS = {"Bucket": "bucket", "Group": "group"}


class World:
    """A run of three boxes: each owns it for a while, its log grows, and comes to S3 now and then."""

    def __init__(self, s3: Any, folder: Path, private: Path, seed: int = 0) -> None:
        self.s3 = s3
        self.random = random.Random(seed)
        self.public = public_half(private).read_text()
        self.folder = folder
        self.boxes: list[FakeBox] = []
        self.synced: dict[str, int] = {}
        self.reachable = True
        self.says(Phase.PENDING)

    @property
    def box(self) -> FakeBox:
        return self.boxes[-1]

    @property
    def written(self) -> bytes:
        return b"".join(box.log.read_bytes() for box in self.boxes if box.log.exists())

    def says(self, phase: Phase) -> None:
        instance = self.boxes[-1].instance if self.boxes else ""
        status = Status(run="demo", phase=phase, instance=instance, heartbeat=datetime.now(UTC) + timedelta(hours=1))
        self.s3.put_object(Bucket="bucket", Key=LAYOUT.status, Body=status.model_dump_json())

    def boot(self) -> None:
        instance = f"i-{9 - len(self.boxes)}"  # by their names the last would be the first
        self.boxes.append(FakeBox(instance, self.folder / instance, self.public))
        self.synced[instance] = 0
        self.reachable = True
        self.says(Phase.TRAINING)

    def write(self) -> None:
        lines = self.random.choices([b"step\n", b"\xff\xfe", b"half a li", b"\n", b"loss " * 50], k=3)
        self.box.write(b"".join(lines))

    def sync(self) -> None:
        box, offset = self.box, self.synced[self.box.instance]
        if box.log.exists() and (data := box.log.read_bytes()[offset:]):
            self.s3.put_object(Bucket="bucket", Key=LAYOUT.log_chunk(box.instance, "trainer", offset), Body=data)
            self.synced[box.instance] = offset + len(data)

    def end(self) -> None:
        """Saved on a notice, then gone."""
        self.write()
        self.sync()
        self.box.end()
        self.reachable = False

    def drop(self) -> None:
        self.box.drop()

    def find(self) -> Target:
        if not self.reachable:
            raise NotNow("no instance is running")
        return self.box.target

    def close(self) -> None:
        for box in self.boxes:
            box.end()


@pytest.fixture
def world(s3: Any, tmp_path: Path, private: Path) -> Iterator[World]:
    made = World(s3, tmp_path / "boxes", private)
    yield made
    made.close()


class Script:
    """What happens while the client sleeps: one thing each time."""

    def __init__(self, *happens: Callable[[], Any]) -> None:
        self.happens = list(happens)

    def __call__(self, seconds: float) -> None:
        if self.happens:
            self.happens.pop(0)()


def read(
    world: World, private: Path, sleep: Callable[[float], None], timeout: float = TIMEOUT, **options: Any
) -> tuple[bytes, str]:
    out, remarks = io.BytesIO(), io.StringIO()

    def by_box(instance: str) -> Wire:
        """Each box's root is a folder of its own here."""
        paths = next(box.paths for box in world.boxes if box.instance == instance)
        return dial(world.find, lambda: private, "trainer", timeout=timeout, paths=paths)(instance)

    source = Logs(world.s3, "bucket", "demo", "trainer")
    settings: dict[str, Any] = {"tail": None, "as_json": False} | options
    code = read_logs(
        boto3.client,
        OUTPUTS,
        "demo",
        source,
        follow=True,
        reach=by_box,
        out=out,
        remarks=remarks,
        sleep=sleep,
        **settings,
    )
    assert code == 0
    return out.getvalue(), remarks.getvalue()


def drop_within(world: World) -> None:
    """In the middle of what is written next."""
    world.write()
    world.box.drop_after = 2


@pytest.mark.parametrize("seed", range(2))
def test_across_two_interruptions_it_is_the_log_files_one_after_the_other(
    world: World, private: Path, seed: int
) -> None:
    world.random.seed(seed)
    world.boot()
    quiet = [world.write, world.write, world.sync, world.drop, lambda: drop_within(world), lambda: None]

    def life() -> list[Callable[[], Any]]:
        return [world.write, *world.random.choices(quiet, k=12)]

    def done() -> None:
        world.end()
        world.says(Phase.DONE)

    interrupted: list[Callable[[], Any]] = [world.end, lambda: None, world.boot]
    script = Script(*life(), *interrupted, *life(), *interrupted, *life(), done)
    shown, remarks = read(world, private, script)
    assert not script.happens
    assert len(world.boxes) == 3 and len(world.written) > 1000
    assert shown == world.written
    assert [line for line in remarks.splitlines() if line.startswith("==>")] == [f"==> i-{n} <==" for n in (9, 8, 7)]


def test_what_is_read_from_the_box_has_not_come_to_s3_yet(world: World, private: Path) -> None:
    """Killed without a notice, its last lines are nowhere else."""
    world.boot()

    def killed() -> None:
        world.box.end()
        world.reachable = False

    def done() -> None:
        world.says(Phase.DONE)

    world.write()
    world.sync()
    world.box.write(b"the last words\n")
    shown, remarks = read(world, private, Script(lambda: None, lambda: None, killed, done))
    assert shown == world.written and shown.endswith(b"the last words\n")
    assert "from S3 until it answers" in remarks


def test_s3_alone_does_where_nobody_may_log_in(world: World, private: Path) -> None:
    world.boot()
    world.box.server.public = "somebody else's"

    def finish() -> None:
        world.end()
        world.says(Phase.DONE)

    shown, remarks = read(world, private, Script(world.write, world.sync, world.write, world.sync, finish))
    assert shown == world.written
    assert "does not let you in" in remarks and "public_key=PATH.pub" in remarks
    assert len(world.box.server.tried) <= 2, "a refusal was asked for again"


def test_a_stranger_is_refused_once_with_the_reason_and_the_log_comes_from_s3(
    world: World, private: Path, tmp_path: Path
) -> None:
    world.boot()
    real, stranger = world.box.host_key, new_key(tmp_path / "stranger")
    asked: list[str] = []

    def find() -> Target:
        asked.append(world.box.instance)
        return Target(world.box.instance, "127.0.0.1", stranger, world.box.port)

    world.find = find  # type: ignore[method-assign]
    world.write()

    def finish() -> None:
        world.end()
        world.says(Phase.DONE)

    shown, remarks = read(world, private, Script(world.sync, lambda: None, lambda: None, lambda: None, finish))
    assert shown == world.written
    assert asked == ["i-9"]
    assert "is not i-9" in remarks and real.fingerprint in remarks
    assert not world.box.server.tried


def test_a_box_that_falls_silent_is_given_up_and_asked_again(world: World, private: Path) -> None:
    """Half open: the connection stands, and nothing comes."""
    world.boot()
    world.write()

    def silent() -> None:
        world.box.awake.clear()
        world.write()

    def again() -> None:
        world.box.awake.set()

    def finish() -> None:
        world.end()
        world.says(Phase.DONE)

    script = Script(silent, again, world.write, lambda: None, lambda: None, finish)
    shown, remarks = read(world, private, script, SILENCE)
    assert shown == world.written
    assert remarks.count("the connection to i-9 is lost (it does not answer)") == 1


def test_a_box_that_gives_a_few_bytes_at_a_time_is_read_as_well(world: World, private: Path) -> None:
    world.boot()
    world.box.read_bytes = 7
    world.box.write(bytes(range(256)) * 4)

    def finish() -> None:
        world.end()
        world.says(Phase.DONE)

    shown, _ = read(world, private, Script(lambda: None, finish))
    assert shown == world.written
    assert world.box.reads > 100


def test_the_last_lines_come_first_and_nothing_of_them_again(world: World, private: Path) -> None:
    world.boot()
    world.box.write(b"1\n2\n3\n")
    world.sync()
    world.box.write(b"4\n")

    def finish() -> None:
        world.box.write(b"5\n")
        world.sync()
        world.says(Phase.DONE)

    shown, _ = read(world, private, Script(lambda: None, finish), tail=2, as_json=True)
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [(line["instance"], line["stream"], line["offset"], line["line"]) for line in lines] == [
        ("i-9", "trainer", 2 * (int(number) - 1), number) for number in "2345"
    ]


@pytest.mark.parametrize("rotate", [True, False])
def test_a_log_that_is_rotated_or_cut_is_told_and_read_on(world: World, private: Path, rotate: bool) -> None:
    world.boot()
    world.box.write(b"old, and long enough\n")
    world.sync()

    def change() -> None:
        if rotate:
            world.box.log.rename(world.box.log.with_suffix(".1"))
        else:
            world.box.log.write_bytes(b"")
        world.box.write(b"new\n")

    def more() -> None:
        world.box.write(b"newer\n")

    def done() -> None:
        world.says(Phase.DONE)

    shown, remarks = read(world, private, Script(lambda: None, change, lambda: None, more, lambda: None, done))
    assert shown == b"old, and long enough\nnew\nnewer\n"
    assert "was cut or replaced on the box after byte 21" in remarks


def test_a_new_file_that_has_outgrown_the_old_one_is_seen_too(private: Path, tmp_path: Path) -> None:
    box = FakeBox("i-1", tmp_path / "box", public_half(private).read_text())
    box.write(b"old\n")
    wire = dial(lambda: box.target, lambda: private, "trainer", timeout=TIMEOUT, paths=box.paths)("i-1")
    assert joined(wire.read(0)) == b"old\n"
    box.log.rename(box.log.with_suffix(".1"))
    box.write(b"new, and longer\n")
    with pytest.raises(Replaced):
        joined(wire.read(4))
    assert joined(wire.read(0)) == b"new, and longer\n"
    wire.close()
    box.end()


def joined(pieces: Iterator[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


def test_a_real_sshd_gives_the_log_and_what_is_added_to_it(private: Path, tmp_path: Path) -> None:
    paths = BoxPaths(tmp_path / "box")
    paths.logs.mkdir(parents=True)
    log = paths.logs / "trainer.log"
    with real_sshd(tmp_path / "sshd", private) as target:
        user = getpass.getuser()
        wire = dial(lambda: target, lambda: private, "trainer", timeout=5, user=user, paths=paths)("i-1")
        assert joined(wire.read(0)) == b"", "the trainer has not begun"
        log.write_bytes(b"x" * 100_000 + b"\xff\n")
        assert joined(wire.read(0)) == log.read_bytes()
        with log.open("ab") as file:
            file.write(b"more\n")
        assert joined(wire.read(100_002)) == b"more\n"
        log.write_bytes(b"cut\n")
        with pytest.raises(Replaced):
            joined(wire.read(100_007))
        assert joined(wire.read(0)) == b"cut\n"
        wire.close()


class Pipe:
    """A log of a gigabyte, as SFTP gives it, made while it is read."""

    SIZE = 1 << 30
    CHUNK = b"0123456789abcde\n" * 2048

    def __init__(self) -> None:
        self.instance = "i-1"

    def read(self, position: int) -> Iterator[Piece]:
        while position < self.SIZE:
            yield Piece("i-1", position, self.CHUNK)
            position += len(self.CHUNK)

    def close(self) -> None:
        pass


class Sink(io.RawIOBase):
    size = 0

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)


def test_a_gigabyte_takes_no_more_memory_than_a_megabyte(s3: Any) -> None:
    source, out = Logs(s3, "bucket", "demo", "trainer"), Sink()
    looks = iter([Look(False, "i-1"), Look(True, "i-1")])
    follower = Follower(source, lambda: next(looks), lambda _: Pipe(), lambda _: None, lambda _: None)
    tracemalloc.start()
    Writer(source, out, io.StringIO(), as_json=False)(follower.pieces())  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert out.size == Pipe.SIZE
    assert peak < 8 << 20


def test_of_a_file_it_reads_on_paramiko_holds_no_more_than_a_piece(private: Path, tmp_path: Path) -> None:
    box = FakeBox("i-1", tmp_path / "box", public_half(private).read_text())
    size = 64 << 20
    with box.log.open("wb") as log:
        log.truncate(size)
    wire = dial(lambda: box.target, lambda: private, "trainer", timeout=TIMEOUT, paths=box.paths)("i-1")
    start = size - (4 << 20)
    tracemalloc.start()
    assert sum(len(piece.data) for piece in wire.read(start)) == 4 << 20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    wire.close()
    box.end()
    assert peak < 2 << 20


def offline() -> StorageError:
    error = StorageError("S3 cannot be read", why="Could not connect")
    error.__cause__ = EndpointConnectionError(endpoint_url="https://s3")
    return error


def follower_of(s3: Any, looks: list[Look | SignspotError], reach: Dial | None, said: list[str]) -> Follower:
    def look() -> Look:
        found = looks.pop(0)
        if isinstance(found, SignspotError):
            raise found
        return found

    return Follower(Logs(s3, "bucket", "demo", "trainer"), look, reach, lambda _: None, said.append)


def test_while_aws_is_out_of_reach_it_waits_and_says_so_once(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key=LAYOUT.log_chunk("i-1", "trainer", 0), Body=b"one\n")
    said: list[str] = []
    looks = [offline(), offline(), Look(False, "i-1"), offline(), Look(True, "i-1"), Look(True, "i-1")]
    assert joined(follower_of(s3, looks, None, said).pieces()) == b"one\n"
    assert [what.count("waiting") for what in said] == [1, 1]


def test_what_aws_refuses_is_no_reason_to_wait(s3: Any) -> None:
    said: list[str] = []
    with pytest.raises(StorageError, match="denied"):
        joined(follower_of(s3, [StorageError("denied")], None, said).pieces())
    assert not said


class Flaky:
    """S3, whose answers break off in the middle."""

    def __init__(self, s3: Any, breaks: int) -> None:
        self._s3 = s3
        self._breaks = breaks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def get_object(self, **asked: Any) -> Any:
        answer = self._s3.get_object(**asked)
        self._breaks -= 1
        return answer | {"Body": Flaky.Body(answer["Body"].read(), self._breaks >= 0)}

    class Body:
        def __init__(self, data: bytes, breaks: bool) -> None:
            self.data, self.breaks = data, breaks

        def iter_chunks(self, size: int) -> Iterator[bytes]:
            yield self.data[:3]
            if self.breaks:
                raise EndpointConnectionError(endpoint_url="https://s3")
            yield self.data[3:]


def test_an_answer_of_s3_that_breaks_off_is_read_on_where_it_broke(s3: Any) -> None:
    for offset, data in ((0, b"0123456789"), (10, b"abcdef")):
        s3.put_object(Bucket="bucket", Key=LAYOUT.log_chunk("i-1", "trainer", offset), Body=data)
    said: list[str] = []
    looks: list[Look | SignspotError] = [Look(True, "i-1")] * 6
    assert joined(follower_of(Flaky(s3, 3), looks, None, said).pieces()) == b"0123456789abcdef"
    assert said


def test_a_box_that_does_not_answer_is_asked_more_and_more_seldom(s3: Any) -> None:
    asked: list[str] = []

    def reach(instance: str) -> Wire:
        asked.append(instance)
        raise NotNow("nobody answers")

    said: list[str] = []
    looks: list[Look | SignspotError] = [*[Look(False, "i-1")] * 40, *[Look(False, "i-2")] * 3, Look(True, "i-2")]
    assert joined(follower_of(s3, looks, reach, said).pieces()) == b""
    assert (asked.count("i-1"), asked.count("i-2")) == (6, 2)
    assert len(said) == 2


@pytest.mark.parametrize("error", [CloudError("port 22 is closed"), ConfigError("there is no SSH key of yours")])
def test_what_no_later_attempt_would_mend_is_tried_once_a_box(s3: Any, error: SignspotError) -> None:
    asked: list[str] = []

    def reach(instance: str) -> Wire:
        asked.append(instance)
        raise error

    said: list[str] = []
    looks: list[Look | SignspotError] = [*[Look(False, "i-1")] * 3, *[Look(False, "i-2")] * 3, Look(True, "i-2")]
    assert joined(follower_of(s3, looks, reach, said).pieces()) == b""
    assert asked == ["i-1", "i-2"]
    assert said == [f"from S3: {error.what}"] * 2


def test_another_box_than_the_owner_is_not_read_from(private: Path, tmp_path: Path) -> None:
    target = Target("i-old", "127.0.0.1", new_key(tmp_path / "old"), 1)
    with pytest.raises(NotNow, match="i-new is not"):
        dial(lambda: target, lambda: private, "trainer")("i-new")


def test_a_log_that_may_not_be_read_is_refused_and_not_waited_for() -> None:
    class Files:
        def open(self, *_: str) -> None:
            raise PermissionError(13, "Permission denied")

    wire = BoxLog("i-1", Files(), PurePosixPath("/log"), ExitStack())  # type: ignore[arg-type]
    with pytest.raises(CloudError, match="may not be read") as caught:
        joined(wire.read(0))
    assert not isinstance(caught.value, NotNow)
