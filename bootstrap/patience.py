"""How long a box waits for S3. Enters: something to do. Leaves: its result, or the last error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from bootstrap.deadline import Deadline
from bootstrap.objects import Unreachable
from bootstrap.snapshot import Moved

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_SECONDS = 3600
"""Its replacement could not reach S3 either, and the deadline ends both."""
LAST = timedelta(minutes=1)
"""So long before the deadline nothing is tried again: what is left is for the way out."""


class Patience:
    def __init__(self, deadline: Deadline, seconds: float, sleep: Callable[[float], None]) -> None:
        self._deadline = deadline
        self._seconds = seconds
        self._sleep = sleep

    def __call__(self, action: Callable[[], T]) -> T:
        """Try again while S3 does not answer (or a file changed while it was read); at last raise the error."""
        retrying = Retrying(
            retry=retry_if_exception_type((Unreachable, Moved)),
            stop=lambda call: self.is_over or stop_after_delay(self._seconds)(call),
            wait=wait_exponential(max=30),
            before_sleep=_log,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(action)

    @property
    def is_over(self) -> bool:
        """The run's time is: no box may wait any longer, nor another in its place."""
        return self._deadline.is_within(LAST)


def _log(call: RetryCallState) -> None:
    log.warning("%s", call.outcome and call.outcome.exception())
