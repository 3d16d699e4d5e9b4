"""What the box hears. Enters: SIGTERM, the deadline, a request to stop, AWS's metadata.

Leaves: the notice that ends this box's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bootstrap.deadline import MARGIN, Deadline
from bootstrap.glance import Glance
from bootstrap.keeper import Keeper
from bootstrap.metadata import Metadata, Notice
from bootstrap.voice import Voice
from contract.status import StopRequest

POLL_SECONDS = 1.0
"""AWS recommends looking for a notice every 5 seconds; a look asks it for two small answers."""
STOP_LOOK_SECONDS = 5.0
"""Between two looks for a request to stop, in S3: 720 requests an hour, $0.0003."""


class Listener:
    def __init__(
        self,
        metadata: Metadata,
        deadline: Deadline,
        stop: Glance[StopRequest],
        voice: Voice,
        keeper: Keeper,
        sleep: Callable[[float], None],
    ) -> None:
        self._metadata = metadata
        self._deadline = deadline
        self._stop = stop
        self._voice = voice
        self._keeper = keeper
        self._sleep = sleep
        self._risks: frozenset[str] = frozenset()
        self.terminated = False
        """SIGTERM to the agent: the machine is being shut down; the same as a notice."""

    def heard(self) -> Notice | None:
        if self.terminated:
            return Notice("shutdown", None)
        self._deadline.look()
        if self._deadline.is_within(MARGIN):
            return Notice("deadline", self._deadline.at)
        if request := self._stop.look(STOP_LOOK_SECONDS):
            return Notice("stop", request.asked_at)
        heard = self._metadata.listen()
        for risk in sorted(heard.risks - self._risks):
            kind, _, message = risk.partition(": ")
            self._voice.tell(kind, message)
            self._keeper.hurry()
        self._risks |= heard.risks
        return heard.notice

    def pause(self, seconds: float) -> Notice | None:
        """Sleep that long, in all; listening took its part of it. Returns the notice that ends it early."""
        while seconds > 0:
            began = time.monotonic()
            if notice := self.heard():
                return notice
            nap = min(seconds, POLL_SECONDS)
            self._sleep(max(0.0, nap - (time.monotonic() - began)))
            seconds -= nap
        return None
