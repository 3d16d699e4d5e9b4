"""The first process of a box: prepares its root, boots it, ends with it.

Enters: a JSON description and, as file descriptor, a pipe that stays open while the rehearsal
lives. Leaves: everything the box runs, all of it killed when the rehearsal dies or the box
powers off (exit code `POWERED_OFF`). In namespaces the kernel does the killing; as plain
processes they are found by a variable that all of them inherit.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POWERED_OFF = 99
MARKER = "SIGNSPOT_REHEARSAL_BOX"
SETTLE_SECONDS = 2.0
"""What processes get between the TERM of a shutdown and the end."""


def marked(box: str) -> list[int]:
    """Pids of every process that carries the marker of this box, however it was detached."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == box and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def kill_marked(box: str, *spared: int) -> None:
    """Again and again, until a look finds none: a process may fork while it is looked for."""
    while pids := [pid for pid in marked(box) if pid not in spared]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


class Box:
    def __init__(self, description: dict[str, Any]) -> None:
        self.name: str = description["box"]
        self.namespaces: bool = description["namespaces"]
        self.environment: dict[str, str] = description["environment"]
        self.boot: list[str] = description["boot"]
        self.services: list[list[str]] = description["services"]
        self.power = Path(description["power"])
        self.description = description

    def start(self) -> None:
        if self.namespaces:
            from rehearsal.mounts import enter_new_root

            paths = {name: Path(self.description[name]) for name in ("root", "upper", "work", "home")}
            kept = [Path(one) for one in self.description["kept"]]
            enter_new_root(**paths, kept=kept, user_namespace=self.description["user_namespace"])
            with contextlib.suppress(OSError):
                Path("/proc/sys/kernel/hostname").write_text("ip-10-0-0-10", encoding="utf-8")
        elif sys.platform == "linux":
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us
        for command in [*self.services, self.boot]:
            subprocess.Popen(
                command,
                env=self.environment,
                cwd="/" if self.namespaces else self.environment["SIGNSPOT_ROOT"],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def watch(self, lifeline: int) -> int:
        while True:
            ready, _, _ = select.select([lifeline], [], [], 0.1)
            if ready:
                return 0
            self._reap()
            if self._power_is_due():
                self._settle()
                return POWERED_OFF

    def _power_is_due(self) -> bool:
        try:
            return time.time() >= float(self.power.read_text(encoding="utf-8") or "inf")
        except (FileNotFoundError, ValueError):
            return False

    def _settle(self) -> None:
        for pid in self._others():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._others() and time.monotonic() < deadline:
            time.sleep(0.05)
            self._reap()

    def _others(self) -> list[int]:
        if self.namespaces:
            return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != "1"]
        return [pid for pid in marked(self.name) if pid != os.getpid()]

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def end(self) -> None:
        if not self.namespaces:
            kill_marked(self.name, os.getpid())


def main() -> int:
    lifeline = int(sys.argv[1])
    os.set_inheritable(lifeline, False)
    box = Box(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the box's processes would inherit
    try:
        box.start()
        return box.watch(lifeline)
    finally:
        box.end()


if __name__ == "__main__":
    sys.exit(main())
