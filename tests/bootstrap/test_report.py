"""The report that a box leaves at the end of its run, and that no trouble with it keeps the box from its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import BUCKET
from test_agent import MakeBox, ScriptedMetadata, agent, status_of, trainer

from bootstrap import endings
from bootstrap.report import leave_report
from bootstrap.state import Box
from contract.errors import StorageError
from contract.layout import RunLayout
from contract.status import Phase

KEY = RunLayout("demo").report


def page(s3: Any) -> str:
    found = s3.get_object(Bucket=BUCKET, Key=KEY)
    assert found["ContentType"] == "text/html; charset=utf-8"
    return str(found["Body"].read().decode())


def pages(s3: Any) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=KEY).get("Contents", [])]


def test_the_box_that_ends_a_run_tells_every_attempt_and_what_it_cost_at_most(make_box: MakeBox, s3: Any) -> None:
    first = make_box("i-1", trainer(2000))
    assert agent(first, ScriptedMetadata(first, notice_at_step=5)).run() == 75
    assert pages(s3) == []  # the run goes on
    assert agent(make_box("i-2", trainer(30))).run() == 0
    text = page(s3)
    for said in (
        "The run is done",
        "2 instances; 1 ended before the run was done",
        "→ interrupted",
        "trained to step 30",
        "g4dn.xlarge us-east-1a",
        "at most",
        "signspot report demo",
        "counted at $0.526 an hour, the highest accepted",
    ):
        assert said in text, said
    assert "There is no receipt" not in text
    assert "<script" not in text


def test_the_price_is_the_one_that_the_stack_keeps(make_box: MakeBox) -> None:
    box = make_box("i-1")
    assert box.highest_price == 0.526
    kept = Box.from_environment({**box.environment, "MAX_PRICE": "0.9"})
    assert kept.highest_price == 0.9


def test_whoever_reads_done_finds_the_report(make_box: MakeBox, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    phases: list[Phase] = []

    def leave(box: Box) -> None:
        phases.append(status_of(s3).phase)
        leave_report(box)

    monkeypatch.setattr(endings, "leave_report", leave)
    assert agent(make_box("i-1", trainer(5))).run() == 0
    assert phases == [Phase.TRAINING]
    assert status_of(s3).phase is Phase.DONE


@pytest.mark.parametrize("ended", ["failed", "expired"])
def test_a_run_that_ends_otherwise_has_one_too(ended: str, make_box: MakeBox, s3: Any) -> None:
    if ended == "failed":
        agent(make_box("i-1", ("false",), max_attempts="1")).run()
    else:
        soon = datetime.now(UTC) + timedelta(minutes=3, seconds=2)
        agent(replace(make_box("i-1", trainer(100_000)), stop_at=soon)).run()
    assert status_of(s3).phase == ended
    assert f"The run is {ended}" in page(s3)


def refuse(box: Box) -> None:
    raise StorageError("S3 refuses the report")


def break_down(box: Box) -> None:
    raise ZeroDivisionError


@pytest.fixture
def hang() -> Iterator[Any]:
    released = threading.Event()
    yield lambda box: released.wait(60)
    released.set()


@pytest.mark.parametrize("trouble", ["refuse", "break_down", "hang"])
def test_no_trouble_with_it_keeps_a_box_from_its_end(
    trouble: str, make_box: MakeBox, s3: Any, hang: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(endings, "leave_report", {"refuse": refuse, "break_down": break_down, "hang": hang}[trouble])
    monkeypatch.setattr(endings, "REPORT_SECONDS", 0.2)
    caplog.set_level("WARNING", "bootstrap.endings")
    assert agent(make_box("i-1", trainer(5))).run() == 0
    assert status_of(s3).phase is Phase.DONE
    assert pages(s3) == []
    assert "the report could not be written" in caplog.text


def test_a_box_that_lost_the_run_writes_none(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(5))
    assert agent(box).run() == 0
    s3.delete_object(Bucket=BUCKET, Key=KEY)
    box.store.take_lease("i-2", status_of(s3).heartbeat)
    with pytest.raises(StorageError, match="no longer owns"):
        leave_report(box)
    assert pages(s3) == []
