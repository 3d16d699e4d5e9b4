"""Cron for machines that have none: runs the lines of a `cron.d` folder when their minute comes.

Enters: a folder that may appear, change and vanish. Leaves: each due command started by the
line's shell with cron's own poor environment, its output discarded. The user field is ignored:
a sandbox has one user.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cronsim import CronSim, CronSimError

KEPT = ("SIGNSPOT_REHEARSAL_BOX",)
"""Variables of the sandbox that its jobs inherit, so that they can be found and killed."""
ASSIGNMENT = re.compile(r"""^\s*(\w+)\s*=\s*(["']?)(.*?)\2\s*$""")


@dataclass(frozen=True)
class Job:
    schedule: str
    command: str
    environment: dict[str, str] = field(default_factory=dict)

    def due(self, after: datetime, until: datetime) -> bool:
        """Whether the schedule names a minute in (after, until]."""
        try:
            return next(CronSim(self.schedule, after)) <= until
        except (CronSimError, StopIteration):
            return False

    def run(self) -> subprocess.Popen[bytes]:
        home = os.environ.get("HOME", "/")
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "HOME": home, "LOGNAME": "root"} | self.environment
        return subprocess.Popen(
            [environment["SHELL"], "-c", self.command],
            env=environment | kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def jobs(folder: Path) -> Iterator[Job]:
    """The jobs of a cron.d folder; like cron, files whose name holds a dot are none."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if re.fullmatch(r"[A-Za-z0-9_-]+", file.name):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                yield from parse(file.read_text(encoding="utf-8"))


def parse(text: str) -> Iterator[Job]:
    """`* * * * * user command` and `NAME=value` lines; like cron, a last line without newline does not count."""
    environment: dict[str, str] = {}
    for line in text.split("\n")[:-1]:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if assigned := ASSIGNMENT.match(line):
            environment = environment | {assigned[1]: assigned[3]}
            continue
        words = line.split(None, 1 if line.startswith("@") else 5)
        schedule, rest = " ".join(words[:-1]), words[-1]
        _user, _, command = rest.partition(" ")
        if command.strip():
            yield Job(schedule, command.strip().partition("%")[0] if "\\%" not in command else command, environment)


def tick(folder: Path, after: datetime, until: datetime) -> list[subprocess.Popen[bytes]]:
    """Start what became due in (after, until]; returns it."""
    return [job.run() for job in jobs(folder) if job.due(after, until)]


def main() -> None:
    folder = Path(sys.argv[1])
    running: list[subprocess.Popen[bytes]] = []
    seen = datetime.now()
    while True:
        time.sleep(0.5)
        now = datetime.now()
        if not timedelta(0) <= now - seen <= timedelta(hours=1):
            seen = now - timedelta(seconds=1)  # the clock was set: start over
        running = [one for one in running if one.poll() is None] + tick(folder, seen, now)
        seen = now


if __name__ == "__main__":
    main()
