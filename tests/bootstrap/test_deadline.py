"""When the run is over, and what an extension changes; the host key; all that a box does beside training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from one_box import NoMetadata
from test_agent import BUCKET, MakeBox, agent, events_of, status_of, trainer

from bootstrap.deadline import LOOK_SECONDS, MARGIN, NEAR_LOOK_SECONDS, Deadline
from bootstrap.state import Box
from bootstrap.takeover import take_over
from bootstrap.voice import Voice
from contract.layout import RunLayout
from contract.status import Deadline as Extension
from contract.status import Phase

LAYOUT = RunLayout("demo")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Timer:
    """`shutdown`, which only notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "shutdown-calls"
        self.program = folder / "bin/shutdown"
        self.program.parent.mkdir()
        self.works()

    def works(self, *, exit_code: int = 0) -> None:
        self.program.write_text(f'#!/bin/sh\necho "$*" >>"{self.calls}"\nexit {exit_code}\n')
        self.program.chmod(0o755)

    @property
    def armed(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def timer(tmp_path: Path) -> Timer:
    return Timer(tmp_path)


@pytest.fixture
def box(make_box: MakeBox, timer: Timer) -> Box:
    box = make_box("i-1", trainer(100_000))
    path = f"{timer.program.parent}:{box.environment['PATH']}"
    box = replace(box, stop_at=NOON, environment={**box.environment, "PATH": path})
    take_over(box, NoMetadata(), None)
    return box


@pytest.fixture
def voice(box: Box) -> Iterator[Voice]:
    voice = Voice(box, time.sleep)
    yield voice
    voice.drain()


def extend(s3: Any, until: datetime | str) -> None:
    body = Extension(stop_at=until).model_dump_json() if isinstance(until, datetime) else until
    s3.put_object(Bucket=BUCKET, Key=LAYOUT.deadline, Body=body.encode())


def at(time_: datetime) -> Callable[[], datetime]:
    return lambda: time_


def test_the_later_one_holds_and_moves_the_timer(box: Box, voice: Voice, s3: Any, timer: Timer) -> None:
    deadline = Deadline(box, voice, at(NOON - timedelta(minutes=30)))
    extend(s3, NOON + timedelta(hours=2, seconds=59))
    deadline.read()
    assert deadline.at == NOON + timedelta(hours=2, seconds=59)
    assert timer.armed == ["-h +150"]
    deadline.read()
    assert len(timer.armed) == 1
    voice._events.submit(int).result(10)
    assert [event.message for event in events_of(s3)] == ["the run may go on until 2026-01-01 14:00:59 UTC"]


def test_a_deadline_counted_from_a_wrong_clock_is_seen_by_the_first_box(box: Box, voice: Voice) -> None:
    assert "clock" in Deadline(box, voice, at(NOON - timedelta(hours=13))).beyond(8)
    for hours in (8, 3, -1):
        assert not Deadline(box, voice, at(NOON - timedelta(hours=hours))).beyond(8)


def test_an_extended_deadline_may_be_further_away_than_the_limits(box: Box, voice: Voice, s3: Any) -> None:
    extend(s3, NOON + timedelta(hours=9))
    deadline = Deadline(box, voice, at(NOON))
    deadline.read()
    assert not deadline.beyond(8)


def test_a_run_deployed_with_a_wrong_clock_ends_before_it_trains(make_box: MakeBox, timer: Timer, s3: Any) -> None:
    box = make_box("i-1", trainer(100_000))
    hours = box.config.hours
    first = replace(box, stop_at=datetime.now(UTC) + timedelta(hours=hours + 5))
    assert agent(first).run() != 0
    assert status_of(s3).phase is Phase.FAILED
    assert "the clock of the computer" in status_of(s3).reason
    assert "training" not in {event.kind for event in events_of(s3)}


@pytest.mark.parametrize("text", ["{", '{"stop_at": "soon"}', '{"stop_at": "2027-01-01T00:00:00"}', "[]"])
def test_what_cannot_be_read_leaves_the_old_one(box: Box, voice: Voice, s3: Any, timer: Timer, text: str) -> None:
    deadline = Deadline(box, voice, at(NOON))
    extend(s3, text)
    deadline.read()
    assert deadline.at == NOON
    assert not timer.armed


def test_an_earlier_one_shortens_nothing(box: Box, voice: Voice, s3: Any, timer: Timer) -> None:
    deadline = Deadline(box, voice, at(NOON - timedelta(hours=3)))
    extend(s3, NOON - timedelta(hours=1))
    deadline.read()
    assert (deadline.at, timer.armed) == (NOON, [])


def test_a_timer_that_cannot_be_moved_leaves_the_old_one_and_is_told_once(
    box: Box, voice: Voice, s3: Any, timer: Timer
) -> None:
    timer.works(exit_code=1)
    deadline = Deadline(box, voice, at(NOON - timedelta(hours=1)))
    extend(s3, NOON + timedelta(hours=1))
    for _ in range(3):
        deadline.read()
    assert deadline.at == NOON
    timer.works()
    deadline.read()
    assert deadline.at == NOON + timedelta(hours=1)
    voice._events.submit(int).result(10)
    assert [event.kind for event in events_of(s3)] == ["warning", "extended"]


class Reads:
    """Counts how often `deadline.json` is asked for, and can refuse or hang."""

    def __init__(self, box: Box) -> None:
        self.count = 0
        self.refuse = False
        box.store._objects._s3.meta.events.register("before-parameter-build.s3.GetObject", self)

    def __call__(self, params: dict[str, Any], **_: object) -> None:
        if params["Key"] == LAYOUT.deadline:
            self.count += 1
            if self.refuse:
                raise EndpointConnectionError(endpoint_url="s3")


@pytest.mark.parametrize(
    ("left", "every"), [(timedelta(hours=1), LOOK_SECONDS), (MARGIN + timedelta(minutes=1), NEAR_LOOK_SECONDS)]
)
def test_it_is_looked_for_once_a_minute_and_more_often_when_it_comes_near(
    box: Box, voice: Voice, s3: Any, monkeypatch: pytest.MonkeyPatch, left: timedelta, every: float
) -> None:
    reads, clock = Reads(box), [0.0]
    monkeypatch.setattr("bootstrap.glance.time", type("", (), {"monotonic": staticmethod(lambda: clock[0])}))
    deadline = Deadline(box, voice, at(NOON - left))
    for second in range(120):
        clock[0] = float(second)
        deadline.look()
        reading = deadline._extension._reading
        assert reading is None or reading.exception(10) is None
    assert reads.count == 120 / every


def test_looking_does_not_wait_for_s3(box: Box, voice: Voice, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()
    answers: list[bool] = []
    monkeypatch.setattr(type(box.store), "read_deadline", lambda self: answers.append(looked.wait(30)))
    deadline = Deadline(box, voice, at(NOON - timedelta(hours=1)))
    for _ in range(10):
        deadline.look()
    assert not answers
    looked.set()


def test_a_run_that_is_extended_goes_on_past_its_old_deadline(box: Box, s3: Any, timer: Timer) -> None:
    began = datetime.now(UTC)
    box = replace(box, stop_at=began + MARGIN + timedelta(seconds=4))
    extend(s3, began + MARGIN + timedelta(seconds=8))
    assert agent(box).run() == 0
    assert datetime.now(UTC) - began >= timedelta(seconds=8)
    assert status_of(s3).phase is Phase.EXPIRED
    assert timer.armed == ["-h +3"]


# --- the host key -------------------------------------------------------------------------------------

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKey root@ip-10-0-0-10\n"


def host_key_in(s3: Any) -> bytes | None:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=LAYOUT.host_key("i-1")).get("Contents", [])
    return s3.get_object(Bucket=BUCKET, Key=found[0]["Key"])["Body"].read() if found else None


def test_the_host_key_is_there_before_the_box_says_that_it_boots(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(10))
    box.paths.host_key.parent.mkdir(parents=True)
    box.paths.host_key.write_bytes(KEY)
    life, told = agent(box), []
    tell = life._voice.tell

    def spy(kind: str, message: str, **more: Any) -> None:
        told.append((kind, host_key_in(s3)))
        tell(kind, message, **more)

    life._voice.tell = spy  # type: ignore[method-assign]
    assert life.run() == 0
    assert told[0] == ("booting", KEY)


def test_a_host_key_that_comes_late_is_waited_for_beside_the_training(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(200))
    box.paths.host_key.parent.mkdir(parents=True)
    box.paths.host_key.write_bytes(KEY[:-10])  # sshd is writing it
    life = agent(box)
    life._listener.heard, heard = (lambda: (box.paths.host_key.write_bytes(KEY), heard())[1]), life._listener.heard  # type: ignore[method-assign]
    assert life.run() == 0
    assert host_key_in(s3) == KEY


def test_a_host_key_that_s3_refuses_stops_no_training(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(20))
    box.paths.host_key.parent.mkdir(parents=True)
    box.paths.host_key.write_bytes(KEY)

    def refuse(params: dict[str, Any], **_: object) -> None:
        if "hostkeys" in params["Key"]:
            box.store._objects._s3.delete_bucket(Bucket="no-such-bucket")

    box.store._objects._s3.meta.events.register("before-parameter-build.s3.PutObject", refuse)
    assert agent(box).run() == 0
    assert "host key" in next(event.message for event in events_of(s3) if event.kind == "warning")


def test_a_box_without_sshd_says_nothing_of_it(make_box: MakeBox, s3: Any) -> None:
    assert agent(make_box("i-1", trainer(10))).run() == 0
    assert "warning" not in [event.kind for event in events_of(s3)]
