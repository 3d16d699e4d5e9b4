"""`signspot tunnel`: a port of this laptop's loopback leads to one of the box's, and only as long as it is open."""

from __future__ import annotations

import getpass
import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.keys import public_half
from cli.local_port import local_port
from cli.ssh import NotNow, Target
from cli.tunnel import Aim, Opened, Tunnel
from contract.errors import CloudError, ConfigError, SignspotError
from tests.bootstrap.viewed import make_box
from tests.cli.boxes import FakeBox, listens, new_key, real_sshd

TIMEOUT = 15.0


class CtrlC(Exception):
    """The test has seen enough."""


@pytest.fixture
def shout() -> Iterator[int]:
    """A port of the box's loopback on which something listens: it shouts back what it hears until the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    heard = b""
                    while data := connection.recv(4096):
                        heard += data
                    connection.sendall(heard.upper())

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def say_through(port: int, what: bytes) -> bytes:
    """What comes back; nothing where the other side hangs up, however early it does."""
    heard = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        suppress(OSError),
    ):
        connection.sendall(what)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(4096):
            heard += data
    return heard


class Session:
    """Somebody at a tunnel: does one thing whenever it sleeps, then Ctrl-C."""

    def __init__(self, private: Path, **options: Any) -> None:
        self.private = private
        self.options = {"timeout": TIMEOUT} | options
        self.opened: list[Opened] = []
        self.said: list[str] = []
        self.over = False

    def __call__(self, aim: Aim, find: Callable[[], Target], *acts: Callable[[int], Any]) -> list[Any]:
        """Returns what each of `acts`, which are given the local port, returned."""
        rest, results = list(acts), []
        with local_port(0, 0) as local, suppress(CtrlC):

            def sleep(_: float) -> None:
                if not rest:
                    raise CtrlC
                results.append(rest.pop(0)(local.port))

            tunnel = Tunnel(local, aim, find, self.private, self.opened.append, self.said.append, sleep, **self.options)
            tunnel.run(lambda: self.over)
        assert not rest
        return results


@pytest.fixture
def session(private: Path) -> Session:
    return Session(private)


def test_what_is_said_into_the_port_is_heard_on_the_box(box: FakeBox, session: Session, shout: int) -> None:
    heard = session(
        Aim(None, shout),
        lambda: box.target,
        lambda port: say_through(port, b"hello " * 20_000),
        lambda port: say_through(port, b"again"),
    )
    assert heard == [b"HELLO " * 20_000, b"AGAIN"]
    (opened,) = session.opened
    assert (opened.instance, opened.box_port) == ("i-1", shout)
    assert opened.url == f"http://127.0.0.1:{opened.port}/"
    assert set(box.server.aims.values()) == {("127.0.0.1", shout)}


def listening_here() -> set[tuple[str, int]]:
    mine = psutil.Process().net_connections("inet")
    return {(one.laddr.ip, one.laddr.port) for one in mine if one.status == psutil.CONN_LISTEN}


def test_the_port_is_loopbacks_alone_and_closed_with_the_tunnel(box: FakeBox, session: Session, shout: int) -> None:
    before = listening_here()
    (during,) = session(Aim(None, shout), lambda: box.target, lambda _: listening_here())
    assert during - before == {("127.0.0.1", session.opened[0].port)}
    assert listening_here() == before


def test_a_port_nobody_listens_on_closes_at_once(box: FakeBox, session: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    assert session(Aim(None, closed), lambda: box.target, lambda port: say_through(port, b"?")) == [b""]


def test_a_connection_that_breaks_is_made_again_and_the_port_stays(
    box: FakeBox, session: Session, shout: int, tmp_path: Path, private: Path
) -> None:
    replacement = FakeBox("i-2", tmp_path / "i-2", public_half(private).read_text())
    boxes = [box]

    def find() -> Target:
        if not boxes:
            raise NotNow("no instance is running")
        return boxes[0].target

    def interrupt(port: int) -> None:
        boxes.pop().end()

    def replace(port: int) -> None:
        boxes.append(replacement)

    def talk(port: int) -> bytes:
        return say_through(port, b"hello")

    heard = session(Aim(None, shout), find, talk, interrupt, talk, replace, talk, lambda _: None)
    assert heard[0] == b"HELLO" and heard[2] == b"" and heard[4] == b"HELLO"
    assert [one.instance for one in session.opened] == ["i-1", "i-2"]
    assert len({one.port for one in session.opened}) == 1
    assert "waiting for the box, or its replacement" in session.said[0]
    replacement.end()


def test_a_box_that_falls_silent_is_let_go(box: FakeBox, private: Path, shout: int) -> None:
    session = Session(private, timeout=0.5)

    def silent(_: int) -> None:
        box.awake.clear()

    def awake(_: int) -> None:
        box.awake.set()

    session(Aim(None, shout), lambda: box.target, silent, awake, lambda _: None)
    assert len(session.opened) == 2


def test_it_ends_with_the_run(box: FakeBox, session: Session, shout: int) -> None:
    def done(_: int) -> None:
        box.end()
        session.over = True

    session(Aim(None, shout), lambda: box.target, done)
    assert len(session.opened) == 1


@pytest.mark.parametrize("how", ["stranger", "stranger later", "nobody", "no box"])
def test_what_no_waiting_mends_ends_it(
    box: FakeBox, session: Session, shout: int, tmp_path: Path, how: str, private: Path
) -> None:
    stranger = Target("i-1", "127.0.0.1", new_key(tmp_path / "stranger"), box.port)
    targets = {"stranger": [stranger], "stranger later": [box.target, stranger], "nobody": [box.target], "no box": []}
    if how == "nobody":
        box.end()

    def find() -> Target:
        if not targets[how]:
            raise NotNow("no instance is running")
        return targets[how].pop(0)

    with pytest.raises(SignspotError) as caught:
        session(Aim(None, shout), find, lambda _: box.drop(), lambda _: None)
    expected = {"nobody": "nobody answers", "no box": "no instance"}.get(how, "is not i-1")
    assert expected in caught.value.what


def test_a_port_that_is_taken_is_told_and_the_usual_one_is_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of this laptop"), local_port(port, 0):
            pass
        with local_port(0, port) as other:
            assert other.port not in (0, port)


def test_a_tool_is_started_on_the_box_looked_at_and_ended(box: FakeBox, session: Session) -> None:
    make_box(box.paths.root)
    session.options["paths"] = box.paths

    def look(port: int) -> Any:
        return read(session.opened[0].url)

    (page,) = session(Aim("jupyter"), lambda: box.target, look)
    words, environment, _ = page
    (opened,) = session.opened
    assert words["ip"] == "127.0.0.1" and int(words["port"]) == opened.box_port
    assert opened.url.endswith(f"/lab?token={environment['JUPYTER_TOKEN']}") and len(environment["JUPYTER_TOKEN"]) == 32
    assert "jupyter is being installed on the box, from jupyter.txt" in session.said
    wait_until(lambda: not listens(opened.box_port))


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_token_stays_when_the_box_is_another(box: FakeBox, session: Session, tmp_path: Path, private: Path) -> None:
    make_box(box.paths.root)
    session.options["paths"] = box.paths
    session(Aim("jupyter"), lambda: box.target, lambda _: box.drop(), lambda _: None, lambda _: None)
    first, second = session.opened
    assert first.url == second.url


def test_a_tool_that_cannot_be_installed_is_told_with_what_it_said(box: FakeBox, session: Session) -> None:
    make_box(box.paths.root)
    (box.paths.root / "no-index").touch()
    session.options["paths"] = box.paths
    with pytest.raises(CloudError, match="tensorboard ended on the box with exit code 2") as caught:
        session(Aim("tensorboard"), lambda: box.target)
    assert "no such index" in caught.value.why


def test_through_a_real_sshd(private: Path, tmp_path: Path, shout: int) -> None:
    paths = make_box(tmp_path / "box")
    with real_sshd(tmp_path / "sshd", private) as target:
        session = Session(private, user=getpass.getuser(), paths=paths, timeout=10)
        assert session(Aim(None, shout), lambda: target, lambda port: say_through(port, b"hello" * 9000)) == [
            b"HELLO" * 9000
        ]
        ((words, _, _),) = session(Aim("tensorboard"), lambda: target, lambda _: read(session.opened[1].url))
        assert words["logdir"] == str(paths.output / "tensorboard")
        box_port = session.opened[1].box_port
        wait_until(lambda: not listens(box_port))
