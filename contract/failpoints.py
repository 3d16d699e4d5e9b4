"""Places at which a test makes a process die. Enters: a name, in `SIGNSPOT_FAILPOINT`. Leaves: nothing, or a crash.

`name` raises `Crash` there, `name:kill` is SIGKILL. Read once, at import: unset, `reach` is one comparison.
Every step that persists something has a point before and one after it.
"""

from __future__ import annotations

import os
import signal

NAMES = frozenset(
    f"{step}.{side}"
    for step in (
        "lease",
        "fence",
        "upload",
        "manifest",
        "latest",
        "drop",
        "settle",
        "log",
        "status",
        "event",
        "model.upload",
        "model.manifest",
        "report",
        "restore.place",
        "state.write",
        "state.replace",
        "snapshot.link",
        "file.flush",
        "file.replace",
        "checkpoint.write",
        "checkpoint.clear",
    )
    for side in ("before", "after")
)

armed = os.environ.get("SIGNSPOT_FAILPOINT", "")


class Crash(BaseException):
    """The process is dead from here on; no `except Exception` survives it."""


def reach(name: str) -> None:
    if not armed:
        return
    wanted, _, how = armed.partition(":")
    if name == wanted:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise Crash(name)
