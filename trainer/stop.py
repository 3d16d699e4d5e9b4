"""SIGTERM and Ctrl-C. Enters: the signal, at any time. Leaves: `Stopped`, raised where everything can be saved."""

from __future__ import annotations

import signal
from types import FrameType


class Stopped(Exception):
    """Asked to save and stop."""


class StopRequest:
    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT only leave a note, for `check`."""
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGINT, self._note)

    def check(self) -> None:
        if self.requested:
            raise Stopped

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
