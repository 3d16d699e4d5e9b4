"""One whole life of a box, watched from outside: what listens on it, and where a secret might lie about.

The box shares this machine's loopback, so the emulated AWS and the metadata service, which are threads of this test
and no part of the box, listen there as well; they are told apart by their process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from moto.sts.models import sts_backends
from rich.console import Console

from cli.rehearsal_screen import Screen
from cli.stage import OVERRIDES, ROOT, RUN, Stage
from contract.config import load_config
from contract.status import Phase
from rehearsal.aws import EmulatedAws
from rehearsal.datacenter import Datacenter
from rehearsal.sandbox import Sandbox
from rehearsal.workdir import Workdir
from trainer.sample import make_sample

SETTINGS = {**OVERRIDES, "epochs": "4", "patience": "4", "units": "16", "layers": "1"}
KEY_MARKERS = (b"PRIVATE KEY-----", b"aws_secret_access_key", b"aws_session_token")
Listener = tuple[str, str, int]
"""Name of the process, address, port."""


@dataclass
class Watcher:
    """Looks at every process of the boxes, over and over, until it is stopped."""

    processes: Callable[[], list[psutil.Process]]
    listeners: set[Listener] = field(default_factory=set)
    environments: dict[tuple[int, float], bytes] = field(default_factory=dict)
    """(pid, start) → its environment and its command line."""
    pids: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            for process in self.processes():
                try:
                    self._look(process)
                except (psutil.NoSuchProcess, psutil.ZombieProcess, ProcessLookupError):
                    continue

    def _look(self, process: psutil.Process) -> None:
        self.pids.add(process.pid)
        words = [*process.cmdline(), *(f"{name}={value}" for name, value in process.environ().items())]
        self.environments[process.pid, process.create_time()] = "\n".join(words).encode(errors="surrogateescape")
        for one in process.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN:
                self.listeners.add((process.name(), one.laddr.ip, one.laddr.port))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@dataclass
class Life:
    """What was seen of it."""

    listeners: set[Listener]
    environments: dict[tuple[int, float], bytes]
    opened: dict[int, str]
    """Ports that answered a connection while the trainer ran and not before → whose they are."""
    endpoints: set[int]
    """Of the emulated AWS and of the box's metadata service."""
    template: bytes
    user_data: bytes
    objects: dict[str, bytes]
    """Every version of every object in the run's bucket."""
    console: bytes
    log: bytes
    """The trainer's, as it was on the box's own disk."""
    commands: dict[str, subprocess.CompletedProcess[bytes]]
    """What `signspot` says of the run when the box is gone."""
    secrets: set[bytes]
    """Secret keys and session tokens of the role and of the administrator."""


def open_ports() -> set[int]:
    """Every TCP port of loopback that answers a connection."""
    found = set()
    for port in range(1, 65536):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0 and probe.getsockname()[1] != port:  # not connected to itself
                found.add(port)
    return found


def owners(ports: set[int], boxes: set[int]) -> dict[int, str]:
    """Who listens on them: `box`, `this test` or another process here; those that closed again are left out."""
    listening = {one.laddr.port: one.pid for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    names = {os.getpid(): "this test"} | dict.fromkeys(boxes, "box")
    return {port: names.get(listening[port] or 0, "another") for port in ports if port in listening}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    make_sample(folder / "data", words=2, signers=4, per_word_and_signer=2)
    subprocess.run(
        [sys.executable, str(ROOT / "app.py")],
        env={"PATH": str(Path(sys.executable).parent), "CDK_OUTDIR": str(folder / "out"), "HOME": str(folder)}
        | {"CDK_CONTEXT_JSON": json.dumps({**SETTINGS, "data.path": str(folder / "data")})},
        check=True,
    )
    ami = load_config(ROOT / "signspot.toml").machine.ami_parameter
    before = open_ports()
    with Workdir(folder) as work, EmulatedAws(ami) as aws:
        (work / "boxes").mkdir()
        with Datacenter(aws, work / "boxes") as datacenter:
            stage = Stage(aws, datacenter, work, Screen(Console(quiet=True)))
            watcher = Watcher(lambda: [one for box in datacenter.alive() for one in box.sandbox.processes()])
            try:
                stage.bootstrap()
                outputs = stage.deploy(str(folder / "out"))
                bucket = outputs["Bucket"]
                began = datacenter.wait(lambda: is_training(stage, bucket), 240)
                assert began, datacenter.boxes[0].sandbox.console.read_text(errors="replace")[-3000:]
                opened = owners(open_ports() - before, watcher.pids)
                stage.watch(bucket, outputs["Group"], limit_seconds=300)
            finally:
                watcher.stop()
            (box,) = datacenter.boxes
            endpoints = {int(url.rpartition(":")[2]) for url in (aws.endpoint, box.imds.endpoint)}
            yield Life(
                watcher.listeners,
                watcher.environments,
                opened,
                endpoints,
                next((folder / "out").glob("*.template.json")).read_bytes(),
                box.sandbox.user_data.encode(),
                dict(versions(stage, bucket)),
                box.sandbox.console.read_bytes(),
                (box.sandbox.root.logs / "trainer.log").read_bytes(),
                {
                    words: signspot(stage, words)
                    for words in ("logs", "logs --json", "logs --tail 3 -f", "status --json")
                },
                secrets(aws, stage),
            )


def signspot(stage: Stage, words: str) -> subprocess.CompletedProcess[bytes]:
    command, *options = words.split()
    return subprocess.run(
        [sys.executable, "-m", "cli", command, RUN, *options], env=stage.environment, capture_output=True, check=False
    )


def is_training(stage: Stage, bucket: str) -> bool:
    status = stage.status(bucket)
    time.sleep(0.2)
    return status is not None and status.phase is not Phase.BOOTING


def versions(stage: Stage, bucket: str) -> Iterator[tuple[str, bytes]]:
    for page in stage.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for one in page.get("Versions", []):
            key, version = one["Key"], one["VersionId"]
            yield f"{key} {version}", stage.s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()


def secrets(aws: EmulatedAws, stage: Stage) -> set[bytes]:
    roles = [role for regions in sts_backends.values() for one in regions.values() for role in one.assumed_roles]
    found = {secret.encode() for role in roles for secret in (role.secret_access_key, role.session_token)}
    return found | {stage.environment["AWS_SECRET_ACCESS_KEY"].encode()}


def test_the_watcher_sees_a_box_that_listens_and_a_secret_in_its_environment(tmp_path: Path) -> None:
    script = "#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 0\n"
    with Workdir(tmp_path) as work:
        box = Sandbox(work / "box", script, environment={"PLANTED": "a-secret"})
        watcher = Watcher(box.processes)
        box.start()
        deadline = time.monotonic() + 60
        while not watcher.listeners and time.monotonic() < deadline:
            time.sleep(0.1)
        ports = {port for _, _, port in watcher.listeners}
        answering = owners(open_ports() & ports, watcher.pids)
        box.kill()
        watcher.stop()
    assert answering == dict.fromkeys(ports, "box") != {}
    assert any(b"a-secret" in text for text in watcher.environments.values())


def test_nothing_on_the_box_listens_but_sshd(life: Life) -> None:
    assert len(life.environments) > 5  # the boot script, the agent, the trainer and what they call
    assert {listener for listener in life.listeners if listener[0] != "sshd"} == set()


def test_what_answers_on_loopback_since_the_box_runs_is_the_emulated_aws(life: Life) -> None:
    assert {port for port, owner in life.opened.items() if owner == "this test"} == life.endpoints
    assert {port for port, owner in life.opened.items() if owner == "box" and port != 22} == set()


@pytest.mark.parametrize("place", ["template", "user_data", "console", "environments", "objects"])
def test_no_secret_lies_about(life: Life, place: str) -> None:
    held = getattr(life, place)
    texts = held if isinstance(held, dict) else {place: held}
    assert texts and all(len(secret) > 15 for secret in life.secrets) and len(life.secrets) >= 3
    for name, text in texts.items():
        for secret in (*life.secrets, *KEY_MARKERS):
            assert secret not in text, f"{place} {name}"


def test_the_search_covers_the_logs_and_the_whole_life(life: Life) -> None:
    assert any(f"runs/{RUN}/logs/" in key and "/trainer/" in key for key in life.objects)
    assert any(f"runs/{RUN}/logs/" in key and "/boot/" in key for key in life.objects)
    assert any(f"runs/{RUN}/model/" in key for key in life.objects)
    assert any(b"bootstrap.agent" in text for text in life.environments.values())
    assert any(b"trainer.train" in text for text in life.environments.values())


def test_the_log_is_read_byte_for_byte_when_the_box_is_gone(life: Life) -> None:
    shown = life.commands["logs"]
    assert (shown.returncode, shown.stdout) == (0, life.log)
    assert life.log.count(b"\n") > 3
    lines = [json.loads(line)["line"] for line in life.commands["logs --json"].stdout.splitlines()]
    assert lines == life.log.decode().removesuffix("\n").split("\n")
    followed = life.commands["logs --tail 3 -f"]
    assert (followed.returncode, followed.stdout) == (0, b"".join(life.log.splitlines(keepends=True)[-3:]))


def test_the_status_says_that_nothing_lives_when_the_box_is_gone(life: Life) -> None:
    said = json.loads(life.commands["status --json"].stdout)
    assert (said["phase"], said["ending"]) == ("done", None)
    assert said["live"] == {"desired": 0, "instances": [], "ssh_from": []}
