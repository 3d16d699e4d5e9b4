"""Work done ahead. Enters: what to make, and of which items. Leaves: the results in order, made in a thread."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def ahead(
    make: Callable[[Item], Made], items: Iterable[Item], depth: int = 2, begin: Callable[[], None] | None = None
) -> Iterator[Iterator[Made]]:
    """`make(item)` of each item, in order; from now on up to `depth` that nobody has asked for are made in a thread.

    The thread does `begin` first. What `make` raises comes where its result would have come. When the `with` block is
    left, however, nothing is made any more.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead", initializer=begin) as thread:
        try:
            coming = (thread.submit(make, item) for item in items)
            yield _in_order(deque(islice(coming, depth)), coming)
        finally:
            thread.shutdown(cancel_futures=True)


def step_aside() -> None:
    """The thread that calls this gives way to others, on Linux (sched(7): SCHED_BATCH, and nicer by 3).

    It still has a third of a core that others keep busy. Much nicer, it would be starved there.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            os.nice(3)


def _in_order(waiting: deque[Future[Made]], coming: Iterator[Future[Made]]) -> Iterator[Made]:
    while waiting:
        made = waiting.popleft().result()
        waiting.extend(islice(coming, 1))
        yield made
