"""A run on a trace: what must hold on any, and two slow computations of the same to compare with."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap import pace
from cli import replay as module
from cli.availability import HOUR, SECOND, Offer, Trace
from cli.replay import NOTICE, Recovery, live, omniscient, replay
from contract.config import Config

LATE = 10**7
"""From here on an offer lasts for ever, so that any run ends."""
offers = st.lists(
    st.builds(
        lambda start, length: Offer(start, start + length),
        st.integers(0, LATE // 2),
        st.integers(1, 3 * 10**6),
    ),
    max_size=12,
)
recoveries = st.builds(
    Recovery,
    boot=st.integers(0, 600 * SECOND),
    save=st.integers(0, 200 * SECOND),
    promise=st.integers(SECOND, 600 * SECOND),
    notice=st.booleans(),
)
works = st.integers(1, 2 * HOUR)


def endless(given: list[Offer]) -> Trace:
    return Trace((*given, Offer(LATE, 10 * LATE)), 10 * LATE + 1)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(offers, works, recoveries, st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_what_holds_of_any_run(given: list[Offer], work: int, recovery: Recovery, seed: int) -> None:
    trace = endless(given)
    run = replay(trace, work, recovery, random(seed))
    assert run.done
    assert run.preemptions == len(run.lives) - 1
    assert run.ended >= work + recovery.boot + recovery.save
    assert sum(life.kept for life in run.lives) == work
    assert run.waited >= 0
    assert run.lost <= recovery.at_most * run.preemptions
    if 2 * recovery.behind <= recovery.promise:
        assert recovery.at_most == recovery.promise
    if recovery.heeds_notice:
        assert run.lost == 0
    now = 0
    for life in run.lives:
        assert now <= life.start < life.end or (life.done and life.start <= life.end)
        assert any(offer.start <= life.start and life.end <= offer.end for offer in trace.offers)
        now = life.end
    last = run.lives[-1]
    assert last.end - last.start == recovery.boot + last.kept + recovery.save
    for life in run.lives[:-1]:
        trained = life.kept + life.lost
        assert trained <= max(0, life.end - life.start - recovery.boot)
        assert not life.kept or life.kept <= life.end - life.start - recovery.boot - recovery.save


@given(offers, works, recoveries, st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_nobody_is_cheaper_than_the_omniscient(given: list[Offer], work: int, recovery: Recovery, seed: int) -> None:
    trace = endless(given)
    run = replay(trace, work, recovery, random(seed))
    ideal = omniscient(trace, work, recovery.boot, recovery.save, run.ended)
    assert ideal is not None
    assert ideal.instance_time <= run.instance_time
    assert ideal.ended <= run.ended
    assert ideal.boxes <= len(run.lives)


@given(offers, offers, works, recoveries)
@settings(max_examples=80, deadline=None)
def test_more_zones_never_make_it_worse_for_the_omniscient(
    given: list[Offer], more: list[Offer], work: int, recovery: Recovery
) -> None:
    few, many = endless(given), endless([*given, *more])
    one, two = (omniscient(trace, work, recovery.boot, recovery.save, 5 * LATE) for trace in (few, many))
    assert one and two
    assert two.instance_time <= one.instance_time


@given(offers, offers, works, recoveries, st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_more_zones_never_make_the_first_box_later(
    given: list[Offer], more: list[Offer], work: int, recovery: Recovery, seed: int
) -> None:
    one, two = (replay(endless(some), work, recovery, random(seed)) for some in (given, [*given, *more]))
    assert two.lives[0].start <= one.lives[0].start


def union(chosen: tuple[Offer, ...]) -> int:
    total, reached = 0, 0
    for offer in sorted(chosen, key=lambda one: one.start):
        total += max(0, offer.end - max(offer.start, reached))
        reached = max(reached, offer.end)
    return total


@given(st.lists(st.builds(lambda a, b: Offer(a, a + b), st.integers(0, 60), st.integers(1, 25)), max_size=6))
@settings(max_examples=150, deadline=None)
def test_the_omniscient_is_the_best_of_all_choices(given: list[Offer]) -> None:
    work, boot, save = 30, 2, 1
    best = next(
        (k for k in range(1, 7) if any(union(some) >= work + 3 * k for some in combinations(given, k))),
        None,
    )
    ideal = omniscient(Trace(tuple(given), 100), work, boot, save, 100)
    assert (ideal and ideal.boxes) == best
    assert ideal is None or ideal.instance_time == work + 3 * ideal.boxes


@given(st.integers(0, 90), st.integers(0, 20), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_what_is_committed_is_what_an_uploader_would_have_committed(trained: int, save: int, promise: int) -> None:
    recovery = Recovery(0, save * SECOND, promise * SECOND, notice=False)
    pace_s, behind = recovery.pace // SECOND, recovery.behind // SECOND
    committed, newest, uploading, ready = 0, 0, 0, -1
    for second in range(trained + 1):
        if second and second % pace_s == 0:
            newest = second
        if second == ready:
            committed, ready = uploading, -1
        if ready < 0 and newest > committed:
            uploading, ready = newest, second + behind
    assert recovery.committed(trained * SECOND) == committed * SECOND


@given(st.integers(1, 400), st.integers(1, 3600))
def test_the_pace_is_the_agents(save: int, promise: int) -> None:
    config = Config.model_validate({"sync": {"checkpoint_seconds": promise}})
    theirs = pace.Pace.of(config, 0, save)
    ours = Recovery(0, save * SECOND, promise * SECOND, notice=True)
    assert ours.pace == theirs.interval_seconds * SECOND
    assert ours.heeds_notice == (not theirs.warning)
    assert ours.heeds_notice or f"up to {ours.at_most / SECOND:.0f} s" in theirs.warning


def test_the_constants_are_the_agents() -> None:
    assert tuple(seconds * SECOND for seconds in (pace.NOTICE_SECONDS, pace.USABLE_SECONDS, pace.SEEN_SECONDS)) == (
        module.NOTICE,
        module.USABLE,
        module.SEEN,
    )


@pytest.mark.parametrize("notice", [True, False])
def test_without_preemption_it_costs_a_boot_and_a_save(notice: bool) -> None:
    recovery = Recovery(600 * SECOND, 3 * SECOND, 30 * SECOND, notice)
    run = replay(Trace((Offer(0, 9 * HOUR),), 10 * HOUR), 4 * HOUR, recovery, random(0))
    assert (run.ended, run.preemptions, run.lost) == (4 * HOUR + 603 * SECOND, 0, 0)


def test_a_notice_ends_training_when_it_comes() -> None:
    recovery = Recovery(100 * SECOND, 3 * SECOND, 30 * SECOND, notice=True)
    life = live(recovery, 0, 1000 * SECOND, HOUR)
    assert (life.kept, life.lost, life.done) == (1000 * SECOND - 100 * SECOND - NOTICE, 0, False)


def test_a_kill_costs_what_was_not_committed() -> None:
    recovery = Recovery(100 * SECOND, 3 * SECOND, 30 * SECOND, notice=False)
    assert recovery.pace == 26 * SECOND
    life = live(recovery, 0, 1000 * SECOND, HOUR)
    assert (life.kept, life.lost) == (884 * SECOND, 16 * SECOND)  # 34 checkpoints of 26 s; 35 would be seen at 914 s


def test_a_trace_that_is_over_too_soon_is_said() -> None:
    run = replay(Trace((Offer(0, HOUR),), HOUR), 4 * HOUR, Recovery(0, 0, SECOND, notice=True), random(0))
    assert (run.done, run.ended, run.preemptions) == (False, HOUR, 0)
    later = replay(Trace((Offer(0, HOUR),), 2 * HOUR), 4 * HOUR, Recovery(0, 0, SECOND, notice=True), random(0))
    assert (later.done, later.ended, later.preemptions) == (False, 2 * HOUR, 1)
