"""Does the trainer live, and does it use what is paid for? Enters: looks, one a second. Leaves: an alarm, or none.

Time is counted from look to look by a clock that nobody sets; a time in which nobody looked (a machine that
stood still) counts as one look. Nothing here asks S3: an outage raises no alarm.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from contract.config import LimitsConfig
from contract.status import Progress

IDLE_PERCENT = 5
"""A GPU below this is idle: one that nobody uses reports 0. One look at or above it in all that time is enough."""
LONGEST_LOOK_SECONDS = 10.0
"""What a look counts for at most."""


@dataclass(frozen=True)
class Alarm:
    kind: Literal["stalled", "idle"]
    """`stalled`: kill the trainer and start it again. `idle`: end the run."""
    message: str


class Watchdog:
    def __init__(
        self, limits: LimitsConfig, gpu: Callable[[], int | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._gpu = gpu
        self._clock = clock
        self._looked = clock()
        self._sign: tuple[Progress, int] | None = None
        self._quiet_seconds = 0.0
        self._idle_seconds = 0.0

    def trainer_started(self) -> None:
        """The first step gets as long as any other. What makes a GPU idle does not end with a new start."""
        self._quiet_seconds = 0.0
        self._looked = self._clock()

    def look(self, progress: Progress, log_bytes: int) -> Alarm | None:
        """`progress`: what the trainer says of itself; `log_bytes`: the size of its log.

        Anything new in `progress` is a sign of life: a step, an epoch, a metric. Only for a trainer that has
        never reported a step, a growing log is one too.
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, LONGEST_LOOK_SECONDS), now
        sign = (progress, 0 if progress.step else log_bytes)
        alive, self._sign = sign != self._sign, sign
        busy = self._gpu()
        self._quiet_seconds = 0.0 if alive else self._quiet_seconds + passed
        working = alive if busy is None else busy >= IDLE_PERCENT
        self._idle_seconds = 0.0 if working else self._idle_seconds + passed
        where = f"the last is step {progress.step}" if progress.step else "there was none yet"
        idle, stall = self._limits.idle_minutes, self._limits.stall_minutes
        if self._idle_seconds >= 60 * idle:
            what = "no training step" if busy is None else f"the GPU was idle (below {IDLE_PERCENT} %)"
            return Alarm("idle", f"{what} for {idle:g} minutes (limits.idle_minutes); {where}")
        if self._quiet_seconds >= 60 * stall:
            return Alarm("stalled", f"no training step for {stall:g} minutes (limits.stall_minutes); {where}")
        return None
