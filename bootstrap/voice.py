"""What the box says. Enters: things that happen. Leaves: events in S3 and mails, in the order they happened.

From a thread of its own: nobody who saves work waits until it has been told. While S3 cannot be reached,
events wait their turn.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, stop_when_event_set, wait_exponential

from bootstrap.notify import publish
from bootstrap.objects import Unreachable
from bootstrap.state import Box
from bootstrap.sync import event_of
from contract.errors import StorageError
from contract.status import Event, Machine

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 3600
DRAIN_SECONDS = 20


class Voice:
    def __init__(self, box: Box, sleep: Callable[[float], None]) -> None:
        self._box = box
        self._sleep = sleep
        self._silent = threading.Event()
        self._events = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._mails = ThreadPoolExecutor(1, thread_name_prefix="mails")

    def tell(
        self,
        kind: str,
        message: str,
        *,
        step: int | None = None,
        seconds: float | None = None,
        machine: Machine | None = None,
    ) -> None:
        """An event for the timeline; never worth failing for."""
        log.info("%s: %s", kind, message)
        event = event_of(self._box, kind, message, step=step, seconds=seconds)
        self._events.submit(self._add, event.model_copy(update={"machine": machine}))

    def publish(self, kind: str, message: str) -> None:
        """To the run's SNS topic, where there is one."""
        self._mails.submit(publish, self._box, kind, message)

    def settle(self, seconds: float) -> None:
        """Wait so long at most until every event told so far is in S3."""
        wait([self._events.submit(int)], seconds)

    def drain(self) -> None:
        """Wait a little for what is still to be said; nothing can be said after it."""
        wait([pool.submit(int) for pool in (self._events, self._mails)], DRAIN_SECONDS)
        self._silent.set()
        for pool in (self._events, self._mails):
            pool.shutdown(wait=False, cancel_futures=True)

    def _add(self, event: Event) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_delay(PATIENCE_SECONDS) | stop_when_event_set(self._silent),
            wait=wait_exponential(max=30),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            retrying(self._box.store.add_event, event)
        except StorageError as error:
            log.warning("%s", error)
