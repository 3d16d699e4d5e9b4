"""TensorBoard and Jupyter on a box: on 127.0.0.1 alone, and only while somebody looks."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.box import BoxPaths
from contract.viewer import Tool, Viewing
from tests.bootstrap.viewed import MAKE_VENV, ROOT, SITE, TOOLS, UV, make_box, script


@pytest.fixture
def paths(tmp_path: Path) -> BoxPaths:
    return make_box(tmp_path / "box")


class Look:
    """What a laptop does, without SSH."""

    def __init__(self, paths: BoxPaths, tool: str) -> None:
        self.process = subprocess.Popen(
            [str(paths.venv / "bin/python"), "-m", "bootstrap.viewer", tool],
            cwd=paths.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(b"secret\n")
        self.process.stdin.flush()
        self.said: list[str] = []

    def up(self) -> Viewing:
        assert self.process.stdout
        for line in self.process.stdout:
            viewing = Viewing.model_validate_json(line)
            if viewing.port:
                return viewing
            self.said.append(viewing.message)
        raise AssertionError(self.process.communicate()[1])

    def processes(self) -> list[psutil.Process]:
        viewer = psutil.Process(self.process.pid)
        return [viewer, *viewer.children(recursive=True)]

    def listening(self) -> set[str]:
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                found += process.net_connections("inet")
        return {one.laddr.ip for one in found if one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)}

    def hang_up(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(20)


@pytest.fixture
def looks() -> Iterator[list[Look]]:
    opened: list[Look] = []
    yield opened
    for look in opened:
        if look.process.poll() is None:
            look.hang_up()
        for pipe in (look.process.stdin, look.process.stdout, look.process.stderr):
            assert pipe
            pipe.close()


def page(viewing: Viewing) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{viewing.port}{viewing.path}") as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("tool", TOOLS)
def test_it_listens_on_loopback_alone_and_ends_when_nobody_looks(
    paths: BoxPaths, tool: Tool, looks: list[Look]
) -> None:
    look = Look(paths, tool)
    looks.append(look)
    viewing = look.up()
    words, environment, path = page(viewing)
    assert look.listening() == {"127.0.0.1"}
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1", "the GPU is the trainer's"
    assert "secret" not in " ".join(word for process in look.processes() for word in process.cmdline())
    site = str(paths.venv / SITE)
    if tool == "tensorboard":
        assert words["logdir"] == str(paths.output / "tensorboard")
        assert viewing.path == "/" and site not in path
    else:
        assert environment["JUPYTER_TOKEN"] == "secret"
        assert viewing.path == "/lab?token=secret"
        assert path[-1] == site, "a notebook imports what the trainer does, after its own packages"
    processes = look.processes()
    assert look.hang_up() == 0
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_it_is_installed_once_and_by_hashes(paths: BoxPaths, looks: list[Look]) -> None:
    for expected in (["tensorboard is being installed on the box, from tensorboard.txt"], []):
        look = Look(paths, "tensorboard")
        looks.append(look)
        look.up()
        assert [what for what in dict.fromkeys(look.said) if "installed" in what] == expected
    calls = (paths.root / "uv.log").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["venv", "pip"]
    assert "--require-hashes" in calls[1]


def test_packages_that_cannot_be_had_are_told(paths: BoxPaths, looks: list[Look]) -> None:
    (paths.root / "no-index").touch()
    look = Look(paths, "jupyter")
    looks.append(look)
    assert look.process.wait(20) == 2
    assert look.process.stderr and b"no such index" in look.process.stderr.read()
    assert not list(paths.root.glob("home/ubuntu/.cache/signspot/*/ready"))


def test_it_ends_with_the_box(paths: BoxPaths, looks: list[Look]) -> None:
    look = Look(paths, "tensorboard")
    looks.append(look)
    look.up()
    processes = look.processes()
    look.process.terminate()
    assert look.process.wait(20) == 128 + 15
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_laptop_that_falls_silent_is_taken_for_gone(paths: BoxPaths, tmp_path: Path) -> None:
    """Half open: nothing comes, and nothing says that nothing will."""
    from bootstrap.viewer import Gone, Viewer

    reading, writing = os.pipe()
    viewer = Viewer("tensorboard", paths, tmp_path, listen=reading)
    os.write(writing, b"\n")
    assert viewer._hear(0) == b"\n"
    assert viewer._hear(0) == b""
    viewer._heard = time.monotonic() - 61
    with pytest.raises(Gone):
        viewer._hear(0)
    os.close(writing)
    os.close(reading)


@pytest.fixture(params=TOOLS)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[BoxPaths, Tool]:
    """The packages of the lock file, from uv's cache, so that no test waits for the network."""
    tool: Tool = request.param
    paths = make_box(tmp_path / "box")
    lock = paths.home / f"requirements/{tool}.txt"
    lock.write_bytes((ROOT / f"requirements/{tool}.txt").read_bytes())
    script(
        paths.venv / "bin/uv",
        MAKE_VENV,
        f'HOME={shlex.quote(str(Path.home()))} exec {UV} "$@" --offline',
    )
    tried = subprocess.run(
        [UV, "pip", "install", "--dry-run", "--offline", "-q", "--target", tmp_path / "dry", "-r", lock],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"requirements/{tool}.txt is not in uv's cache here: uv pip install -r it once, anywhere")
    return paths, tool


def test_the_real_one_listens_on_loopback_alone_and_asks_for_its_token(
    real: tuple[BoxPaths, Tool], looks: list[Look]
) -> None:
    paths, tool = real
    (paths.output / "tensorboard").mkdir(parents=True)
    settings = paths.root / "home/ubuntu/.jupyter/jupyter_server_config.py"
    settings.parent.mkdir()
    settings.write_text("c.ServerApp.allow_root = True")  # as these tests may be; a box's is ubuntu
    look = Look(paths, tool)
    looks.append(look)
    viewing = look.up()
    here = f"http://127.0.0.1:{viewing.port}"
    if tool == "tensorboard":
        with urllib.request.urlopen(here) as answer:
            assert b"TensorBoard" in answer.read()
    else:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{here}/api/kernels")
        start_kernel = urllib.request.Request(f"{here}/api/kernels?token=secret", data=b"{}", method="POST")
        with urllib.request.urlopen(start_kernel) as answer:
            assert answer.status == 201
    assert look.listening() <= {"127.0.0.1", "::1"}
    processes = look.processes()
    assert look.hang_up() == 0
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
