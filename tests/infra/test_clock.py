"""A laptop whose clock is wrong by hours would put the end of the run at the wrong time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from contract.errors import ConfigError
from infra.clock import check_clock


class Aws(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        """AWS refuses who shows no credentials, and says what time it is."""
        self.send_response(403)
        self.end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(datetime.now(UTC), usegmt=True)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Aws) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("minutes", [0, 3, -3])
def test_a_clock_that_is_nearly_right_will_do(endpoint: str, minutes: int) -> None:
    check_clock(endpoint, datetime.now(UTC) + timedelta(minutes=minutes))


@pytest.mark.parametrize(("hours", "word"), [(5, "5.0 hours ahead of"), (-9, "9.0 hours behind")])
def test_a_clock_that_is_wrong_by_hours_is_refused(endpoint: str, hours: int, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        check_clock(endpoint, datetime.now(UTC) + timedelta(hours=hours))


def test_where_nobody_answers_nothing_is_said() -> None:
    check_clock("http://127.0.0.1:9", datetime.now(UTC))
