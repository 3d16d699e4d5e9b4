"""A worker lends itself to the head that is there, and leaves when nobody needs it; Ray itself is played here."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bootstrap import worker as module
from bootstrap.metadata import Heard, Metadata, Notice
from bootstrap.state import Box
from bootstrap.worker import Worker
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.cluster import Head, Ports
from contract.layout import RunLayout
from contract.status import Phase, Status, StopRequest
from tests.bootstrap.test_agent import BUCKET

MakeBox = Callable[..., Box]
LAYOUT = RunLayout("demo")


class Node:
    def __init__(self, head: Head) -> None:
        self.head = head
        self.alive = True
        self.stopped = False

    def stop(self) -> None:
        self.alive, self.stopped = False, True


class Play:
    """A worker whose seconds are moments; `at` says what happens in which second."""

    def __init__(self, box: Box, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.box, self.s3 = box, s3
        self.nodes: list[Node] = []
        self.at: dict[int, Callable[[], object]] = {}
        self.second = 0
        self.notice: Notice | None = None
        self.time = datetime(2030, 1, 1, tzinfo=UTC)
        play = self

        class Scripted(Metadata):
            def get(self, path: str) -> str | None:
                return {"local-ipv4": "10.0.0.7"}.get(path)

            def listen(self) -> Heard:
                return Heard(play.notice)

        class NoWait(module.Glance):  # type: ignore[type-arg]
            """Reads at once, and each time: S3 is here, and time is ours."""

            def look(self, every_seconds: float) -> Any:
                return self.now()

        monkeypatch.setattr(module, "Glance", NoWait)
        self.worker = Worker(
            box,
            Scripted("http://127.0.0.1:9"),
            preparations=(lambda _: None,),
            join=lambda _box, _address, head: self.join(head),
            wait_after_notice_seconds=3,
            sleep=self.sleep,
            now=lambda: self.time,
            clock=lambda: float(self.second),
        )

    def join(self, head: Head) -> Any:
        self.nodes.append(Node(head))
        return self.nodes[-1]

    def sleep(self, _: float) -> None:
        self.second += 1
        assert self.second < 10_000, "the worker lives on"
        if act := self.at.pop(self.second, None):
            act()

    def put(self, key: str, record: Any) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=record.model_dump_json())

    def head(self, instance: str, port: int, token: str = "a") -> Head:
        head = Head(address=f"127.0.0.1:{port}", instance=instance, epoch=1, token=token)
        self.put(LAYOUT.head, head)
        return head

    def run_is(self, phase: Phase) -> None:
        self.put(LAYOUT.status, Status(run="demo", phase=phase, heartbeat=self.time))


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def play(make_box: MakeBox, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(make_box("i-w1", boxes="2", job="extract", idle_minutes="2"), s3, monkeypatch)


def test_it_joins_the_head_and_leaves_for_good_when_the_run_is_over(play: Play, port: int) -> None:
    head = play.head("i-head", port)
    play.at[5] = lambda: play.run_is(Phase.DONE)
    assert play.worker.run() == EXIT_DONE
    (node,) = play.nodes
    assert node.head == head and node.stopped


@pytest.mark.parametrize("phase", [Phase.DONE, Phase.FAILED, Phase.EXPIRED])
def test_one_that_boots_after_the_end_leaves_at_once(play: Play, phase: Phase) -> None:
    play.run_is(phase)
    assert play.worker.run() == EXIT_DONE
    assert not play.nodes and play.second == 0


def test_it_follows_the_run_to_another_head(play: Play, port: int) -> None:
    play.head("i-head-1", port)
    play.at[3] = lambda: play.head("i-head-2", port, token="b")
    play.at[6] = lambda: play.run_is(Phase.DONE)
    assert play.worker.run() == EXIT_DONE
    assert [node.head.instance for node in play.nodes] == ["i-head-1", "i-head-2"]
    assert play.nodes[0].stopped


def test_it_joins_again_when_ray_has_ended_here(play: Play, port: int) -> None:
    play.head("i-head", port)
    play.at[3] = lambda: setattr(play.nodes[0], "alive", False)
    play.at[40] = lambda: play.run_is(Phase.DONE)
    assert play.worker.run() == EXIT_DONE
    assert len(play.nodes) == 2 and play.nodes[0].stopped, "or its ports are taken"


@pytest.mark.parametrize("listens", [False, None])
def test_without_a_head_it_leaves_for_good_and_is_not_replaced(play: Play, listens: bool | None) -> None:
    """Whether nobody ever said where one is, or nobody is there: an idle worker costs money."""
    if listens is False:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            play.head("i-gone", closed.getsockname()[1])
    code = play.worker.run()
    assert code not in (EXIT_DONE, EXIT_SAVED)
    assert 120 <= play.second <= 125


@pytest.mark.parametrize("kind", ["spot", "group"])
def test_one_that_is_taken_away_may_be_replaced(play: Play, port: int, kind: str) -> None:
    play.head("i-head", port)
    play.at[4] = lambda: setattr(play, "notice", Notice(kind, None))
    assert play.worker.run() == EXIT_SAVED
    assert play.second >= 7, "Ray stays until the trials have saved"
    assert play.nodes[0].stopped


def test_who_stops_the_run_stops_its_workers_and_none_comes_back(play: Play, port: int) -> None:
    play.head("i-head", port)
    play.at[4] = lambda: play.put(LAYOUT.stop, StopRequest(asked_at=play.time))
    assert play.worker.run() == EXIT_DONE
    assert play.second < 60


def test_it_leaves_before_the_deadline(play: Play, make_box: MakeBox, port: int) -> None:
    play.head("i-head", port)
    play.worker._deadline.at = play.time + timedelta(minutes=10)
    play.at[4] = lambda: setattr(play, "time", play.time + timedelta(minutes=8))
    assert play.worker.run() == EXIT_DONE


def test_a_machine_that_is_shut_down_is_left_at_once(play: Play, port: int) -> None:
    play.head("i-head", port)
    play.at[4] = lambda: play.worker.terminate(15, None)
    assert play.worker.run() == EXIT_SAVED
    assert play.second == 4


def test_it_writes_neither_a_lease_nor_a_status(play: Play, port: int, s3: Any) -> None:
    play.head("i-head", port)
    play.at[5] = lambda: play.put(LAYOUT.stop, StopRequest(asked_at=play.time))
    play.worker.run()
    keys = {one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    ours = {key for key in keys if key not in (LAYOUT.head, LAYOUT.stop)}
    assert ours and all(key.startswith(LAYOUT.events) for key in ours), ours


def test_every_port_is_pinned_and_none_is_said_twice() -> None:
    options = Ports().options
    named = [option.split("=") for option in options]
    numbers = [int(number) for _, number in named]
    assert len(set(numbers)) == len(numbers) == 8
    inside = [number for number in numbers for first, last in Ports().ranges if first <= number <= last]
    assert sorted(inside) == sorted(numbers)
