"""Lines for the log. A disk that is full, or a reader that is gone, is no reason to stop training."""

from __future__ import annotations

from contextlib import suppress


def say(line: str) -> None:
    with suppress(OSError):
        print(line, flush=True)
