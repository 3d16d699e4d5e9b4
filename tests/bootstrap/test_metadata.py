"""The manners of IMDSv2, against a real HTTP server that has them (or has none)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bootstrap.metadata import Heard, Metadata, Notice
from contract.errors import CloudError


class Service(HTTPServer):
    answers: dict[str, tuple[int, str]]
    token: str = "token-1"
    tokens_given: int = 0
    seconds: float = 0.0
    """What the clock says; an answer takes `delay` of it and no time."""
    delay: float = 0.0
    may_answer: threading.Event
    cut_short: bool = False
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600"
        self.server.tokens_given += 1
        self.answer(200, self.server.token)

    def do_GET(self) -> None:
        self.server.may_answer.wait(30)
        self.server.seconds += self.server.delay
        self.server.asked.append(self.path.removeprefix("/latest/meta-data/"))
        if self.headers["X-aws-ec2-metadata-token"] != self.server.token:
            self.answer(401, "")
        else:
            self.answer(*self.server.answers.get(self.path.removeprefix("/latest/meta-data/"), (404, "")))

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        if self.server.cut_short:
            self.send_header("Content-Length", "1000")
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service(("127.0.0.1", 0), Handler)
    server.answers = {}
    server.asked = []
    server.may_answer = threading.Event()
    server.may_answer.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.may_answer.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def metadata(service: Service) -> Metadata:
    return Metadata(f"http://127.0.0.1:{service.server_port}")


ACTION = "spot/instance-action"


def test_404_means_no_notice(metadata: Metadata) -> None:
    assert metadata.listen() == Heard()


def test_a_notice_has_a_time(service: Service, metadata: Metadata) -> None:
    service.answers[ACTION] = (200, '{"action": "terminate", "time": "2026-01-01T08:22:00Z"}')
    assert metadata.listen().notice == Notice("spot", datetime(2026, 1, 1, 8, 22, tzinfo=UTC))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"action": "stop"}', '{"time": 5}', '{"time": "soon"}'])
def test_a_notice_that_cannot_be_read_is_a_notice(service: Service, metadata: Metadata, text: str) -> None:
    service.answers[ACTION] = (200, text)
    assert metadata.listen().notice == Notice("spot", None)


@pytest.mark.parametrize("code", [500, 503, 403])
def test_a_service_in_trouble_is_no_notice(service: Service, metadata: Metadata, code: int) -> None:
    service.answers[ACTION] = (code, "")
    assert metadata.listen().notice is None
    with pytest.raises(CloudError, match=str(code)):
        metadata.get(ACTION)


def test_the_token_is_asked_for_once_and_again_after_a_401(service: Service, metadata: Metadata) -> None:
    service.answers["instance-type"] = (200, "g4dn.xlarge")
    for _ in range(3):
        assert metadata.get("instance-type") == "g4dn.xlarge"
    assert service.tokens_given == 1
    service.token = "token-2"
    assert metadata.get("instance-type") == "g4dn.xlarge"
    assert service.tokens_given == 2


def test_the_token_is_renewed_before_it_runs_out(service: Service) -> None:
    now = [0.0]
    metadata = Metadata(f"http://127.0.0.1:{service.server_port}", clock=lambda: now[0])
    metadata.get("x")
    now[0] = 3 * 3600 + 1
    metadata.get("x")
    assert service.tokens_given == 2


def test_the_group_ending_the_instance_is_a_notice(service: Service, metadata: Metadata) -> None:
    service.answers["autoscaling/target-lifecycle-state"] = (200, "InService")
    assert [metadata.listen().notice for _ in range(4)] == [None] * 4
    service.answers["autoscaling/target-lifecycle-state"] = (200, "Terminated")
    assert Notice("group", None) in [metadata.listen().notice for _ in range(3)]


def test_three_looks_ask_for_everything_and_each_for_the_notice(service: Service, metadata: Metadata) -> None:
    everything = {ACTION, "autoscaling/target-lifecycle-state", REBALANCE, MAINTENANCE}
    metadata.listen()
    for _ in range(3):
        service.asked.clear()
        for _ in range(3):
            metadata.listen()
        assert set(service.asked) == everything
        assert (len(service.asked), service.asked.count(ACTION)) == (6, 3)


def test_nobody_there_is_no_notice_and_one_clear_error() -> None:
    metadata = Metadata("http://127.0.0.1:9", timeout_seconds=0.2)
    assert metadata.listen().notice is None
    with pytest.raises(CloudError, match="does not answer"):
        metadata.get("instance-id")


REBALANCE, MAINTENANCE = "events/recommendations/rebalance", "events/maintenance/scheduled"
REBOOT = {"Code": "system-reboot", "NotBefore": "21 Jan 2026 09:00:43 GMT", "State": "active"}


def test_risks_are_reasons_to_save_and_go_on(service: Service, metadata: Metadata) -> None:
    service.answers[REBALANCE] = (200, '{"noticeTime": "2026-01-01T08:22:00Z"}')
    service.answers[MAINTENANCE] = (200, json.dumps([REBOOT, REBOOT | {"State": "canceled"}]))
    metadata.listen()
    metadata.listen()
    assert metadata.listen() == Heard(
        None,
        frozenset(
            {
                "rebalance: AWS sees a raised risk of interruption",
                "maintenance: system-reboot scheduled for 21 Jan 2026 09:00:43 GMT",
            }
        ),
    )


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "[5]", "[{}]", "null"])
def test_maintenance_that_cannot_be_read_is_none(service: Service, metadata: Metadata, text: str) -> None:
    service.answers[MAINTENANCE] = (200, text)
    assert [metadata.listen() for _ in range(3)] == [Heard()] * 3
    assert MAINTENANCE in service.asked


def test_a_slow_service_is_still_heard_in_time(service: Service) -> None:
    """Every answer takes a while: the notice is asked for first, the rest takes turns, a look stays short."""
    service.delay = 0.12
    service.answers["autoscaling/target-lifecycle-state"] = (200, "InService")
    service.answers[MAINTENANCE] = (200, json.dumps([REBOOT]))
    metadata = Metadata(f"http://127.0.0.1:{service.server_port}", timeout_seconds=0.3, clock=lambda: service.seconds)
    for _ in range(4):
        service.asked.clear()
        began = service.seconds
        heard = metadata.listen()
        assert service.seconds - began <= 1.5 * 0.3
        assert service.asked[0] == ACTION
        assert len(service.asked) <= 3
    assert heard.risks


def test_a_service_that_does_not_answer_costs_no_more_than_its_timeout(service: Service) -> None:
    service.may_answer.clear()
    metadata = Metadata(f"http://127.0.0.1:{service.server_port}", timeout_seconds=0.2)
    assert metadata.listen() == Heard()
    assert not service.asked, "it was waited for"


def test_an_answer_that_is_cut_short_is_no_notice_and_ends_nothing(service: Service, metadata: Metadata) -> None:
    service.cut_short = True
    assert metadata.listen() == Heard()
    with pytest.raises(CloudError, match="does not answer"):
        metadata.get(ACTION)
