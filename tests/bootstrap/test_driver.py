"""The head's trainer: its cluster is told of only when it is there, and it ends with its job, whatever ends that."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootstrap import driver as module
from bootstrap.driver import Driver
from bootstrap.head import as_head
from bootstrap.state import Box, State
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.cluster import Head
from contract.errors import CloudError, DataError, StaleLease
from contract.layout import RunLayout
from tests.bootstrap.test_agent import BUCKET

MakeBox = Callable[..., Box]


class Job:
    def __init__(self, script: str) -> None:
        self.script = script
        self.said: list[str] = []

    def command(self, address: str) -> list[str]:
        return [sys.executable, "-c", self.script, address]

    def restore(self) -> None:
        self.said.append("restore")

    def save(self, *, due: bool) -> None:
        if due:
            self.said.append("save")

    def finish(self, code: int) -> None:
        self.said.append(f"finish {code}")
        if code:
            raise DataError("nothing was made")


class Node:
    def __init__(self) -> None:
        self.alive = True
        self.said = "its last words"

    def stop(self) -> None:
        self.alive = False


@pytest.fixture
def box(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A box that owns its run, and beside it somebody who listens where Ray would."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = make_box("i-1", boxes="2", job="extract")
        environment = {**made.environment, "RAY_PORTS": f"{server.getsockname()[1]},20000"}
        made = Box.from_environment(environment)
        made.save(State(lease=made.store.take_lease("i-1", datetime.now(UTC))))
        yield made


def drive(box: Box, job: Job, monkeypatch: pytest.MonkeyPatch) -> tuple[Driver, Node]:
    node = Node()
    monkeypatch.setattr(module.Node, "head", lambda *_: node)
    return Driver(box, job, "127.0.0.1"), node


def test_workers_are_told_where_the_head_is_before_the_job_begins(
    box: Box, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("import os, sys; sys.exit(os.environ['RAY_AUTH_MODE'] != 'token')")
    driver, node = drive(box, job, monkeypatch)
    assert driver.run() == EXIT_DONE
    assert job.said == ["restore", "save", "finish 0"] and not node.alive
    head = Head.model_validate_json(s3.get_object(Bucket=BUCKET, Key=RunLayout("demo").head)["Body"].read())
    assert (head.instance, head.epoch, len(head.token)) == ("i-1", 1, 64)


def test_the_token_is_on_no_command_line(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "sys.exit(os.environ['RAY_AUTH_TOKEN'] in pathlib.Path('/proc/self/cmdline').read_text())"
    job = Job(f"import os, pathlib, sys; {script}")
    driver, _ = drive(box, job, monkeypatch)
    assert driver.run() == EXIT_DONE


def test_a_job_without_a_result_is_a_failure(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, node = drive(box, Job("raise SystemExit(3)"), monkeypatch)
    with pytest.raises(DataError):
        driver.run()
    assert not node.alive


def test_sigterm_saves_and_ends_job_and_ray(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("import time; time.sleep(60)")
    driver, node = drive(box, job, monkeypatch)
    threading.Timer(0.5, driver.terminate, (15, None)).start()
    assert driver.run() == EXIT_SAVED
    assert job.said == ["restore", "save"] and not node.alive


def test_no_job_goes_on_without_ray(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("import time; time.sleep(60)")
    driver, node = drive(box, job, monkeypatch)
    threading.Timer(0.5, node.stop).start()
    with pytest.raises(CloudError, match="Ray has ended"):
        driver.run()
    assert "finish 0" not in job.said


def test_a_head_that_was_replaced_tells_nobody_to_join_it(
    box: Box, make_box: MakeBox, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, node = drive(box, Job("raise SystemExit('worked')"), monkeypatch)
    box.store.take_lease("i-2", datetime.now(UTC))
    with pytest.raises(StaleLease):
        driver.run()
    assert not node.alive
    assert "head.json" not in str(s3.list_objects_v2(Bucket=BUCKET))


def test_the_head_trains_nothing_itself(make_box: MakeBox, tmp_path: Path) -> None:
    box = make_box("i-1", ("python", "train.py"), boxes="2", job="extract")
    head = as_head(box)
    assert head.config.trainer.command == ("python", "-m", "bootstrap.driver")
    assert head.config.run.code == "" and head.config.machine == box.config.machine
    assert box.config.trainer.command == ("python", "train.py")
