"""The address that will be let in: two services at least, run by different people, must say the same."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cli.address import SERVICES, ask_service, find_address
from contract.errors import CloudError


def answers(*given: str | Exception) -> str:
    services = [f"service {number}" for number in range(len(given))]

    def ask(service: str) -> str:
        answer = given[services.index(service)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return find_address(services, ask)


def test_the_services_are_asked_over_tls_and_belong_to_different_people() -> None:
    parts = [urllib.parse.urlsplit(service) for service in SERVICES]
    assert {part.scheme for part in parts} == {"https"}
    assert SERVICES[0] == "https://checkip.amazonaws.com"
    assert len({(part.hostname or "").split(".", 1)[1] for part in parts}) >= 2


@pytest.mark.parametrize(
    "given",
    [
        ("8.8.8.8", "8.8.8.8"),
        ("8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("8.8.8.8", OSError("refused"), "8.8.8.8"),
        (TimeoutError("timed out"), "8.8.8.8", "8.8.8.8"),
    ],
)
def test_services_that_agree_give_one_address(given: tuple[str | Exception, ...]) -> None:
    assert answers(*given) == "8.8.8.8/32"


@pytest.mark.parametrize(
    ("given", "what", "why"),
    [
        (("8.8.8.8", "8.8.4.4"), "more than one address", "service 1 says '8.8.4.4'"),
        (("8.8.8.8", "8.8.8.8", "9.9.9.9"), "more than one address", "service 2 says '9.9.9.9'"),
        (("8.8.8.8", "<html>"), "no IPv4 address", "<html>"),
        (("8.8.8.8", ""), "no IPv4 address", "''"),
        (("8.8.8.8", "2001:4860:4860::8888"), "no IPv4 address", "2001:"),
        (("8.8.8.8/8", "8.8.8.8/8"), "no IPv4 address", "8.8.8.8/8"),
        (("10.0.0.7", "10.0.0.7"), "no public address", "10.0.0.7"),
        (("127.0.0.1", "127.0.0.1"), "no public address", "127.0.0.1"),
        (("100.64.0.1", "100.64.0.1"), "no public address", "100.64.0.1"),
        (("0.0.0.0", "0.0.0.0"), "no public address", "0.0.0.0"),
        (("8.8.8.8", OSError("refused")), "1 of 2 services", "refused"),
        ((OSError("no route"), OSError("no route")), "0 of 2 services", "no route"),
    ],
)
def test_anything_else_is_one_error_that_says_who_said_what(
    given: tuple[str | Exception, ...], what: str, why: str
) -> None:
    with pytest.raises(CloudError) as caught:
        answers(*given)
    assert what in caught.value.what
    assert why in caught.value.why
    assert "-c ssh_from=" in caught.value.mend


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("HTTP_PROXY", "http://localhost:1")
    monkeypatch.setenv("http_proxy", "http://localhost:1")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/up": 200}.get(self.path, 503))
            self.end_headers()
            self.wfile.write(b"8.8.8.8\n")

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    with HTTPServer(("localhost", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_service_is_asked_directly_whatever_proxy_the_environment_names(service: str) -> None:
    assert ask_service(f"{service}/up") == "8.8.8.8"


def test_a_service_that_fails_is_no_answer(service: str) -> None:
    with pytest.raises(CloudError, match="1 of 2 services"):
        find_address(
            ["up", "down"],
            lambda url: ask_service(f"{service}/down") if url == "down" else ask_service(f"{service}/up"),
        )
