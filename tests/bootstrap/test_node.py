"""Ray is ended with all it has started, and nothing else is; Ray itself is played by processes of its names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bootstrap import node as module
from bootstrap.node import Node, answers, token_environment
from contract.box import BoxPaths
from contract.cluster import Head

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a box is Linux")
RAY = """#!/bin/bash
echo "$@" > {seen}
setsid {bin}/raylet 60 & setsid {bin}/trial 60 &
trap "{end}" TERM
while true; do sleep 0.05; done
"""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BoxPaths:
    monkeypatch.setattr(module, "STOP_SECONDS", 1)
    return BoxPaths(tmp_path)


def start(paths: BoxPaths, end: str = "exit 0") -> Node:
    bin_ = paths.venv / "bin"
    bin_.mkdir(parents=True)
    for name in ("raylet", "trial"):
        (bin_ / name).symlink_to("/bin/sleep")
    (bin_ / "ray").write_text(RAY.format(bin=bin_, end=end, seen=paths.home / "seen"))
    (bin_ / "ray").chmod(0o755)
    head = Head(address="10.0.0.1:6379", instance="i-1", epoch=1, token="t" * 64)
    node = Node.worker(paths, {"PATH": os.environ["PATH"]}, "10.0.0.7", head)
    deadline = time.monotonic() + 60
    while len(running(paths)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    return node


def running(paths: BoxPaths) -> dict[str, int]:
    found = {}
    for process in psutil.process_iter(["cmdline", "status"]):
        program = (process.info["cmdline"] or [""])[0]
        if program.startswith(str(paths.venv)) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found[Path(program).name] = process.pid
    return found


@pytest.mark.parametrize("end", ["exit 0", ":"], ids=["goes", "must be killed"])
def test_what_ray_leaves_behind_is_killed_and_a_trial_may_save(paths: BoxPaths, end: str) -> None:
    node = start(paths, end)
    stranger = subprocess.Popen(["/bin/sleep", "60"], executable="/bin/sleep", env={"SIGNSPOT_NODE": "another"})
    assert set(running(paths)) == {"raylet", "trial"} and node.alive
    node.stop()
    left = running(paths)
    assert set(left) == {"trial"} and not node.alive
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    os.kill(left["trial"], 9)


def test_it_is_told_where_to_go_and_every_port_but_no_token(paths: BoxPaths) -> None:
    node = start(paths)
    node.stop()
    os.kill(running(paths)["trial"], 9)
    words = (paths.home / "seen").read_text()
    assert "--address=10.0.0.1:6379" in words and "--node-ip-address=10.0.0.7" in words
    assert words.count("-port=") == 8 and "tttt" not in words
    assert token_environment("t")["RAY_AUTH_TOKEN"] == "t"


def test_nobody_answers_where_nobody_listens() -> None:
    assert not answers("127.0.0.1:1")
