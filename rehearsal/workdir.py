"""The temporary folder of a rehearsal, which is cleared even if the rehearsal was killed.

Enters: where temporary folders go. Leaves: a folder, locked for as long as its owner lives. A small
process waits for the owner's end, kills what still runs in the folder, and removes it; should that
process be killed as well, the next rehearsal does the same for every folder whose lock nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from rehearsal.inside import kill_marked

REMOVALS = 100
REPOSITORY = Path(__file__).parents[1]


class Workdir:
    """A temporary folder that knows whether its owner lives: the next `Workdir` clears dead owners' folders."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        for stale in parent.glob("signspot-rehearsal-*"):
            _remove_if_abandoned(stale)
        self.path = Path(tempfile.mkdtemp(prefix="signspot-rehearsal-", dir=parent))
        self._lock = (self.path / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._janitor = subprocess.Popen(
            [sys.executable, "-m", "rehearsal.workdir", str(self.path)],
            env={"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()
        self._janitor.communicate()


def _remove_if_abandoned(folder: Path, wait: int = fcntl.LOCK_NB) -> None:
    """Unless its owner lives; `wait` is 0 for who knows that the owner is dying and its lock comes free."""
    try:
        lock = (folder / "lock").open("r+")
    except OSError:
        return
    with lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | wait)
        for _ in range(REMOVALS):  # a box that is being killed may still write while we remove
            for box in [*folder.glob("*"), *folder.glob("boxes/*")]:
                kill_marked(str(box))
            remove_tree(folder)
            if not folder.exists():
                return
            time.sleep(0.1)


def remove_tree(folder: Path) -> None:
    """Overlays leave folders without any permission behind."""
    for found, folders, _ in os.walk(folder):
        for name in folders:
            child = Path(found, name)
            with contextlib.suppress(FileNotFoundError):
                if not child.is_symlink() and not os.access(child, os.R_OK | os.W_OK | os.X_OK):
                    child.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Waits until standard input ends, which it does when the owner has."""
    sys.stdin.read()
    _remove_if_abandoned(Path(sys.argv[1]), wait=0)


if __name__ == "__main__":
    main()
