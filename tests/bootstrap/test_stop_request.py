"""`signspot stop`, as the box hears it: saved first, out of the group, and no other box goes on until `restart`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from test_agent import BUCKET, MakeBox, ScriptedMetadata, agent, events_of, log_of, status_of, trainer

from bootstrap.glance import Glance
from bootstrap.metadata import Heard
from bootstrap.state import Box
from contract.box import EXIT_DONE
from contract.layout import RunLayout
from contract.status import Phase, StopRequest

LAYOUT = RunLayout("demo")


def ask(s3: Any, *, lifted: bool = False) -> None:
    now = datetime.now(UTC)
    body = StopRequest(asked_at=now, lifted_at=now if lifted else None).model_dump_json()
    s3.put_object(Bucket=BUCKET, Key=LAYOUT.stop, Body=body.encode())


class AskedAtStep(ScriptedMetadata):
    """AWS says nothing; in the middle of the training somebody asks."""

    def __init__(self, box: Box, s3: Any, step: int, body: bytes | None = None) -> None:
        super().__init__()
        self._trainer, self._s3, self._step, self._body, self.asked = box, s3, step, body, False

    def listen(self) -> Heard:
        try:
            step = json.loads(self._trainer.paths.progress.read_text())["step"]
        except FileNotFoundError:
            return Heard()
        if step >= self._step and not self.asked:
            self.asked = True
            if self._body is None:
                ask(self._s3)
            else:
                self._s3.put_object(Bucket=BUCKET, Key=LAYOUT.stop, Body=self._body)
        return Heard()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.listener.STOP_LOOK_SECONDS", 0.1)


def test_the_very_step_is_saved_and_the_box_leaves_its_group(make_box: MakeBox, s3: Any) -> None:
    first = make_box("i-1", trainer(100_000))
    assert agent(first, AskedAtStep(first, s3, 33)).run() == EXIT_DONE, "75 would have the group start another"
    stopped = status_of(s3)
    assert stopped.phase is Phase.INTERRUPTED
    assert stopped.reason.startswith("stopped on request")
    assert stopped.checkpoint_step == stopped.progress.step >= 33
    assert stopped.trouble == ""
    kinds = [event.kind for event in events_of(s3)]
    assert kinds[-2:] == ["notice", "stopped"]
    assert "interrupted" not in kinds, "AWS did not interrupt it"


def test_another_box_does_not_begin_until_the_request_is_lifted(make_box: MakeBox, s3: Any) -> None:
    first = make_box("i-1", trainer(100_000))
    agent(first, AskedAtStep(first, s3, 33)).run()
    stopped = status_of(s3)

    def never(box: Box) -> None:
        raise AssertionError("a box of a run that was stopped prepares nothing")

    assert agent(make_box("i-2", trainer(10)), preparations=(never,)).run() == EXIT_DONE
    assert status_of(s3) == stopped
    ask(s3, lifted=True)
    assert agent(make_box("i-3", trainer(stopped.checkpoint_step + 10))).run() == EXIT_DONE
    assert f"begins at {stopped.checkpoint_step}\n" in log_of(s3, "i-3")
    done = status_of(s3)
    assert (done.phase, done.restored_step) == (Phase.DONE, stopped.checkpoint_step)
    assert (done.attempts, done.fruitless_attempts) == (2, 0)


def test_a_box_that_still_boots_hears_it_too(make_box: MakeBox, s3: Any) -> None:
    def asked_meanwhile(box: Box) -> None:
        ask(s3)
        while box.load().phase is Phase.BOOTING:
            pass

    assert agent(make_box("i-1"), preparations=(asked_meanwhile,)).run() == EXIT_DONE
    assert status_of(s3).reason.startswith("stopped on request")


def test_what_could_not_be_saved_is_told_and_the_box_leaves_all_the_same(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(100_000))
    refused = []

    def refuse(params: dict[str, Any], **_: object) -> None:
        if "checkpoints/" in params["Key"] and metadata.asked:
            refused.append(params["Key"])
            box.store._objects._s3.delete_bucket(Bucket="no-such-bucket")

    metadata = AskedAtStep(box, s3, 15)
    life = agent(box, metadata)
    life._patiently._seconds = 0.2
    for operation in ("PutObject", "UploadPart"):
        box.store._objects._s3.meta.events.register(f"before-parameter-build.s3.{operation}", refuse)
    assert life.run() == EXIT_DONE
    assert refused
    assert status_of(s3).trouble
    last = events_of(s3)[-1]
    assert last.kind == "stopped" and "not everything could be saved" in last.message


@pytest.mark.parametrize("body", [b"{", b'{"asked_at": "soon"}', b"[]"])
def test_what_is_no_request_stops_no_training(make_box: MakeBox, s3: Any, body: bytes) -> None:
    box = make_box("i-1", trainer(60))
    assert agent(box, AskedAtStep(box, s3, 10, body)).run() == EXIT_DONE
    assert status_of(s3).phase is Phase.DONE


def test_s3_in_trouble_is_no_request(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1")

    def away(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="s3")

    box.store._objects._s3.meta.events.register("before-parameter-build.s3.GetObject", away)
    assert Glance(box.store.read_stop, "stop").now() is None


def test_it_is_looked_for_every_five_seconds_and_not_more_often(
    make_box: MakeBox, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, clock, reads = make_box("i-1"), [0.0], []
    monkeypatch.setattr("bootstrap.glance.time", type("", (), {"monotonic": staticmethod(lambda: clock[0])}))
    glance = Glance(lambda: reads.append(clock[0]) or box.store.read_stop(), "stop")
    heard = []
    for second in range(31):
        clock[0] = float(second)
        if second == 12:
            ask(s3)
        heard.append(glance.look(5.0))
        assert glance._reading is None or glance._reading.exception(10) is None
    assert reads == [0, 5, 10, 15, 20, 25, 30]
    assert next(second for second, request in enumerate(heard) if request) == 16


def test_the_bill_of_an_attempt_can_be_made_of_its_first_event(make_box: MakeBox, s3: Any) -> None:
    class Told(ScriptedMetadata):
        def launched(self) -> datetime | None:
            return datetime(2026, 1, 1, tzinfo=UTC)

    box = make_box("i-1", trainer(5))
    agent(box, Told()).run()
    booting, *others = events_of(s3)
    assert booting.machine is not None
    assert (booting.machine.type, booting.machine.zone) == ("g4dn.xlarge", "us-east-1a")
    assert booting.machine.launched == datetime(2026, 1, 1, tzinfo=UTC)
    assert booting.machine.volume_gb == box.config.machine.volume_gb
    assert {event.machine for event in others} == {None}
