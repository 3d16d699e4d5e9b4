"""`logs -f`, `ssh` and `tunnel` as typed, into boxes with an sshd, across two interruptions.

Address from EC2, port 22, host key from the run's bucket, the key pair of the stack: the way they go on AWS.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.assembly import Assembly, synthesise
from cli.deaths import SETTINGS, TIME_FORMAT, change_bundle, sample
from cli.keys import find_key
from cli.stage import RUN, Stage
from contract.layout import RunLayout
from rehearsal import sshd
from rehearsal.case import Case
from rehearsal.datacenter import Box
from rehearsal.deaths import Death
from rehearsal.sandbox import namespaces_refused
from tests.bootstrap.viewed import STAND_IN
from tests.cli import schemas
from tests.cli.boxes import listens

NOTICE_SECONDS = 4.0
ENTERED = "Accepted publickey for ubuntu"
ROOT = Path(__file__).parents[2]


class Laptop:
    def __init__(self, stage: Stage, home: Path) -> None:
        self.home = home
        self.environment = stage.environment | {"HOME": str(home), "PYTHONPATH": str(ROOT)}

    def signspot(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli", *words], env=self.environment, capture_output=True, text=True, check=False
        )

    @contextmanager
    def begin(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Ended, if nothing else ends it."""
        command = [sys.executable, "-m", "cli", *words]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def laptop(stage: Stage, tmp_path: Path) -> Laptop:
    return Laptop(stage, tmp_path)


@pytest.fixture
def case(stage: Stage, laptop: Laptop) -> Iterator[Case]:
    """A run whose port 22 is open to the laptop's key, and whose TensorBoard is a stand-in."""
    if why := sshd.refused() or namespaces_refused(stage.work):
        pytest.skip(why)
    access = {"ssh_from": "203.0.113.7/32", "public_key": str(find_key(laptop.home))}
    settings = SETTINGS | access | {"data.path": str(sample(laptop.home / "data"))}
    assembly = Assembly(synthesise(laptop.home / "cdk.out", settings), RUN, stage.aws)
    assembly.bootstrap()

    def change(bundle: Path) -> None:
        change_bundle(Death("none", lambda _: None))(bundle)
        (bundle / "requirements/tensorboard.txt").write_text("")
        (bundle / "tensorboard").mkdir()
        (bundle / "tensorboard/main.py").write_text(STAND_IN)

    outputs = assembly.deploy(bundle=change)
    stop_at = datetime.strptime(outputs["StopAt"], TIME_FORMAT).replace(tzinfo=UTC)
    yield Case(stage.aws, stage.datacenter, RunLayout(RUN), outputs["Bucket"], outputs["Group"], stop_at, 0)
    assembly.destroy()


def test_who_holds_the_key_looks_into_the_box_and_the_log_moves_over(laptop: Laptop, case: Case) -> None:
    with laptop.begin("logs", RUN, "-f") as logs:
        first = case.training()
        goes_in(laptop, first)
        looks_in(laptop, first)
        for number in (2, 3):
            case.datacenter.notice(case.alive[-1].instance_id, NOTICE_SECONDS)
            case.booted(number)
            case.wait("it trains", lambda box=case.boxes[-1]: box.sandbox.root.progress.exists())
            case.wait("the log is read from it", lambda box=case.boxes[-1]: ENTERED in console(box))
        stopped = laptop.signspot("stop", RUN)
        assert stopped.returncode == 0 and case.over, stopped.stderr
        shown, said = logs.communicate(timeout=60)
    assert logs.returncode == 6, said
    written = b"".join((box.sandbox.root.logs / "trainer.log").read_bytes() for box in case.boxes)
    assert shown == written and written.count(b"resumed at step") == len(case.boxes) == 3
    assert all(ENTERED in console(box) for box in case.boxes), said
    assert "does not answer" not in said.decode()


def console(box: Box) -> str:
    return box.sandbox.console.read_text(errors="replace")


def goes_in(laptop: Laptop, box: Box) -> None:
    done = laptop.signspot("ssh", RUN, "--", "id -un; cat /var/lib/cloud/data/instance-id; exit 7")
    assert (done.stdout.split(), done.returncode) == (["ubuntu", box.instance_id], 7), done.stderr
    way = schemas.check("ssh", laptop.signspot("ssh", RUN, "--json").stdout)
    assert way["host_key"] == box.sandbox.root.host_key.read_text().strip()
    (laptop.home / "stranger").mkdir()
    other = find_key(laptop.home / "stranger").with_suffix("")
    stranger = laptop.signspot("ssh", RUN, "--key", str(other), "--", "true")
    assert stranger.returncode == 5 and "does not let you in" in stranger.stderr


def looks_in(laptop: Laptop, box: Box) -> None:
    with laptop.begin("tunnel", RUN, "--tensorboard", "--no-browser", "--json") as tunnel:
        assert tunnel.stdout and tunnel.stderr
        line = tunnel.stdout.readline().decode()
        assert line, tunnel.stderr.read()
        opened = schemas.check("tunnel", line)
        assert opened["instance"] == box.instance_id
        with urllib.request.urlopen(opened["url"], timeout=10) as answer:
            words, environment, _ = json.load(answer)
        assert words["logdir"] == "/opt/ml/output/tensorboard" and environment["HOME"] == "/home/ubuntu"
        tunnel.send_signal(signal.SIGINT)
        assert tunnel.wait(30) == 130
    box_gone = time.monotonic() + 20
    while listens(opened["box_port"]):
        assert time.monotonic() < box_gone
        time.sleep(0.05)
