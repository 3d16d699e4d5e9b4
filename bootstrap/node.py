"""Ray on this box, as one process. Enters: an address, the cluster's token. Leaves: a node, until it is stopped.

`ray start --block` stays for as long as its processes do and takes them with it, and ends with who started it (setpriv
is a part of util-linux); `ray stop` would look for Ray's processes by name, and find those of others.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from contract.box import BoxPaths
from contract.cluster import Head, Ports

STOP_SECONDS = 15
MARK = "SIGNSPOT_NODE"
PROGRAMS = ("gcs_server", "raylet")
"""The rest of Ray's processes end with these."""
START_SECONDS = 120
"""What Ray gives its own processes to start; its own 30 seconds are too few for a box that still installs."""
DRAIN_SECONDS = 5
"""What Ray waits for its own tasks when it is ended; by then whoever works here has been told to save."""
SAID = 2000
"""Characters of the end of its log, for who wants to know why it has ended."""
REACH_SECONDS = 2.0


def token_environment(token: str) -> dict[str, str]:
    """What everybody who speaks to the cluster has in the environment, and on no command line."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}


class Node:
    """`where`: what makes it the head, or a worker of one. `environment`: what Ray's own workers inherit."""

    def __init__(self, paths: BoxPaths, environment: Mapping[str, str], address: str, token: str, where: str) -> None:
        options = (
            *("--block", "--disable-usage-stats", f"--node-ip-address={address}", where),
            *Ports.of(environment).options,
            *shlex.split(environment.get("RAY_OPTIONS", "")),
        )
        bin_ = paths.venv / "bin"
        paths.logs.mkdir(parents=True, exist_ok=True)
        self._log = paths.logs / "ray.log"
        self._mark = uuid.uuid4().hex
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", str(bin_ / "ray"), "start", *options],
                cwd=paths.home,
                env={
                    **environment,
                    **token_environment(token),
                    MARK: self._mark,
                    "PATH": f"{bin_}:{environment.get('PATH', os.defpath)}",
                    "PYTHONPATH": str(paths.home),
                    "RAY_raylet_start_wait_time_s": str(START_SECONDS),
                    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(DRAIN_SECONDS),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @classmethod
    def head(cls, paths: BoxPaths, environment: Mapping[str, str], address: str, token: str) -> Node:
        """The head does no work of its own: it may be small."""
        ports, given = Ports.of(environment), environment.get("RAY_OPTIONS", "")
        more = f"--head --include-dashboard=false --num-cpus=0 {given}"
        return cls(paths, {**environment, "RAY_OPTIONS": more}, address, token, f"--port={ports.gcs}")

    @classmethod
    def worker(cls, paths: BoxPaths, environment: Mapping[str, str], address: str, head: Head) -> Node:
        more = {"RAY_OPTIONS": f"{environment.get('RAY_OPTIONS', '')} {environment.get('RAY_WORKER_OPTIONS', '')}"}
        return cls(paths, {**environment, **more}, address, head.token, f"--address={head.address}")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace").strip()[-SAID:]

    def stop(self) -> None:
        """`ray start` ends what it has started, in its own order; what is left of Ray itself after that is killed, or
        the next one would find its ports taken. A trial is not Ray's: it hears that its task has ended, and saves.
        """
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in self._left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Ray's own programs that this node has started; each inherits the mark."""
        mark, found = f"{MARK}={self._mark}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                program = Path(os.fsdecode((folder / "cmdline").read_bytes().split(b"\0")[0])).name
                if program in PROGRAMS and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


def answers(address: str) -> bool:
    """Whether somebody listens at `<host>:<port>`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), REACH_SECONDS):
            return True
    except OSError:
        return False
