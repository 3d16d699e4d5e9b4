"""Work done ahead. Enters: what to make, and of which items. Leaves: the results in order, made in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def ahead(make: Callable[[Item], Made], items: Iterable[Item], depth: int = 2) -> Iterator[Iterator[Made]]:
    """`make(item)` of each item, in order; while one is in use, up to `depth` further ones are made in one thread.

    What `make` raises comes where its result would have come. When the `with` block is left, however, nothing is
    made any more.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as thread:
        try:
            yield _in_order(thread, make, iter(items), depth)
        finally:
            thread.shutdown(cancel_futures=True)


def _in_order(
    thread: ThreadPoolExecutor, make: Callable[[Item], Made], items: Iterator[Item], depth: int
) -> Iterator[Made]:
    waiting: deque[Future[Made]] = deque(thread.submit(make, item) for item in islice(items, depth))
    while waiting:
        made = waiting.popleft().result()
        waiting.extend(thread.submit(make, item) for item in islice(items, 1))
        yield made
