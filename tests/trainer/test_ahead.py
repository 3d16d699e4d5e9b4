from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from trainer.ahead import ahead, step_aside


def test_results_are_in_order_and_made_in_another_thread() -> None:
    main = threading.get_ident()
    with ahead(lambda item: (item, threading.get_ident()), range(20)) as made:
        results = list(made)
    assert [item for item, _ in results] == list(range(20))
    assert {thread for _, thread in results}.isdisjoint({main})


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_so_many_are_made_while_one_is_in_use_and_no_more(depth: int) -> None:
    begun: list[int] = []
    made_all = threading.Semaphore(0)

    def make(item: int) -> int:
        begun.append(item)
        made_all.release()
        return item

    with ahead(make, range(100), depth) as made:
        for done, _ in enumerate(made, 1):
            for _ in range(depth + 1 if done == 1 else 1):
                assert made_all.acquire(timeout=10)
            assert len(begun) == done + depth
            if done == 5:
                break
    assert len(begun) == 5 + depth


def test_the_first_are_made_before_anybody_asks() -> None:
    made_two = threading.Semaphore(0)
    with ahead(lambda _: made_two.release(), range(9)):
        assert made_two.acquire(timeout=10) and made_two.acquire(timeout=10)


def test_items_are_taken_as_late() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with ahead(str, items()) as made:
        next(made)
        assert len(taken) == 3


def test_an_exception_comes_where_its_result_would_have() -> None:
    def make(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    seen = []
    with pytest.raises(ValueError, match="three"), ahead(make, range(9)) as made:
        for item in made:
            seen.append(item)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("leave", ["break", "raise", "end", "never"])
def test_when_it_is_left_nothing_is_made_any_more(leave: str) -> None:
    before, made_of = threading.active_count(), []
    in_the_making, left = threading.Event(), threading.Event()

    def make(item: int) -> None:
        if item == 5:
            in_the_making.set()
            assert left.wait(10)
        made_of.append(item)

    try:
        with ahead(make, range(10)) as made:
            for number, _ in enumerate(made if leave != "never" else ()):
                if number == 4:
                    assert in_the_making.wait(10)
                    left.set()
                    if leave == "break":
                        break
                    if leave == "raise":
                        raise KeyError
    except KeyError:
        assert leave == "raise"
    assert threading.active_count() == before, "what was in the making is waited for, and no thread is left to go on"
    # Of the two that wait when it is left, each may have begun.
    assert len(made_of) in {"end": (10,), "never": (0, 1, 2)}.get(leave, (6, 7))


def test_nothing_to_make() -> None:
    with ahead(str, []) as made:
        assert list(made) == []


def test_the_thread_begins_with_what_it_is_given() -> None:
    begun: list[int] = []
    with ahead(lambda _: threading.get_ident(), range(3), begin=lambda: begun.append(threading.get_ident())) as made:
        assert set(made) == set(begun)
    assert len(begun) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="sched(7)")
def test_a_thread_steps_aside_and_the_others_stay_where_they_are() -> None:
    def standing() -> tuple[int, int]:
        return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = standing()
    with ahead(lambda _: standing(), range(1), begin=step_aside) as made:
        assert next(made) == (os.SCHED_BATCH, min(19, before[1] + 3))
    assert standing() == before
