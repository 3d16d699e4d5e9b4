"""The temporary folder of a rehearsal, which is cleared even if the rehearsal was killed.

Enters: where temporary folders go. Leaves: a folder, locked for as long as its owner lives; the
next rehearsal finds folders whose lock nobody holds, kills what still runs there, and removes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from rehearsal.inside import kill_marked


class Workdir:
    """A temporary folder that knows whether its owner lives: the next `Workdir` clears dead owners' folders."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        for stale in parent.glob("signspot-rehearsal-*"):
            _remove_if_abandoned(stale)
        self.path = Path(tempfile.mkdtemp(prefix="signspot-rehearsal-", dir=parent))
        self._lock = (self.path / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove_tree(self.path)
        self._lock.close()


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = (folder / "lock").open("r+")
    except OSError:
        return
    with lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for box in folder.iterdir():
            kill_marked(str(box))
        remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Overlays leave folders without any permission behind."""
    for found, folders, _ in os.walk(folder):
        for name in folders:
            child = Path(found, name)
            if not child.is_symlink() and not os.access(child, os.R_OK | os.W_OK | os.X_OK):
                child.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
