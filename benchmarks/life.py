"""A box's life without the box: the real agent as a process, beside an instance metadata service, on a server.

Enters: a server, a folder, settings. Leaves: an agent whose status can be waited for, given notice, or killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.checkpoint_overhead import AGENT, make_box
from benchmarks.peers import environment
from benchmarks.s3_server import BUCKET, S3Server
from bootstrap.store import RunStore
from contract.config import Config
from contract.status import Event, Progress, Status
from rehearsal.imds import Identity, Imds

NOTICE = timedelta(minutes=2)
PATIENCE_SECONDS = 240
LOOK_SECONDS = 0.02


class Life:
    """From the start of an agent to its end; its instance's name is that of its folder."""

    def __init__(self, server: S3Server, root: Path, data: Path, config: Config, endpoint: str = "") -> None:
        """`endpoint`: where the box finds S3, if not at the server itself."""
        self.instance = root.name
        self.paths = make_box(root, data, config)
        self.store = RunStore(server.client(), BUCKET, config.run.name)
        self._client = server.client()
        self._imds = Imds(Identity(self.instance, "g4dn.xlarge", "us-east-1", "us-east-1a", "", "123456789012"), dict)
        box = {"RUN": config.run.name, "BUCKET": BUCKET, "DATA": "", "INSTANCE_ID": self.instance}
        self._environment = (
            environment(server)
            | box
            | {
                "SIGNSPOT_ROOT": str(root),
                "AWS_ENDPOINT_URL": endpoint or server.endpoint,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._imds.endpoint,
            }
        )

    def __enter__(self) -> Life:
        self.began = time.monotonic()
        with (self.paths.logs / "boot.log").open("wb") as log:
            self._agent = subprocess.Popen([sys.executable, "-c", AGENT], env=self._environment, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._imds.close()

    def kill(self) -> None:
        """Agent and trainer at once, as when the machine is gone."""
        kill_tree(self._agent)

    @property
    def process_id(self) -> int:
        return self._agent.pid

    def notice(self) -> datetime:
        """Two minutes are left; returns when it could be heard first."""
        now = datetime.now(UTC)
        self._imds.notice(now + NOTICE)
        return now

    def progress(self) -> int:
        return step_of(self.paths.progress)

    def status(self) -> Status | None:
        return self.store.read_status()

    def events(self) -> list[Event]:
        answer = self._client.list_objects_v2(Bucket=BUCKET, Prefix=self.store.layout.events)
        bodies = (
            self._client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read() for found in answer["Contents"]
        )
        return [event for event in map(Event.model_validate_json, bodies) if event.instance == self.instance]

    def wait(self, what: str, holds: Callable[[], bool], look_seconds: float = LOOK_SECONDS) -> float:
        """Until it holds; returns the moment. Raises RuntimeError when the agent ends before, or it takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if self._agent.poll() is not None or time.monotonic() > deadline:
                logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(self.paths.logs.iterdir()))
                raise RuntimeError(f"{what}: it never came (exit {self._agent.poll()})\n{logs}")
            time.sleep(look_seconds)
        return time.monotonic()


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.Error):
        everything = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for one in everything:
            with suppress(psutil.Error):
                os.kill(one.pid, signal.SIGSTOP)
        for one in everything:
            with suppress(psutil.Error):
                one.kill()
    process.wait()


def step_of(progress: Path) -> int:
    try:
        return Progress.model_validate_json(progress.read_bytes()).step
    except (OSError, ValueError):
        return 0
