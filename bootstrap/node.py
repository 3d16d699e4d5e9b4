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
from collections.abc import Mapping
from contextlib import suppress

from contract.box import BoxPaths
from contract.cluster import Head, Ports

STOP_SECONDS = 15
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
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", str(bin_ / "ray"), "start", *options],
                cwd=paths.home,
                env={
                    **environment,
                    **token_environment(token),
                    "PATH": f"{bin_}:{environment.get('PATH', os.defpath)}",
                    "PYTHONPATH": str(paths.home),
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
        """Everything that Ray has started here ends; what does not is killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
                return


def answers(address: str) -> bool:
    """Whether somebody listens at `<host>:<port>`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), REACH_SECONDS):
            return True
    except OSError:
        return False
