"""The arithmetic of a receipt, by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract import prices
from contract.receipt import Receipt, Sighting, make_receipt, sightings_of, usd_between
from contract.status import Event, Machine

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
POOL = ("g4dn.xlarge", "us-east-1a")


def at(hours: float) -> datetime:
    return NOON + HOUR * hours


@pytest.mark.parametrize(
    ("changes", "began", "ended", "usd"),
    [
        ([(at(-5), 0.2)], 0, 1, 0.2),
        ([(at(-5), 0.2), (at(0.5), 0.4)], 0, 1, 0.1 + 0.2),
        ([(at(-5), 0.2), (at(-1), 0.4)], 0, 2, 0.8),
        ([(at(0.5), 0.4)], 0, 1, 0.4),
        ([(at(-5), 0.2), (at(3), 9.9)], 0, 1, 0.2),
        ([(at(-5), 0.2), (at(0.25), 0.6), (at(0.75), 0.2)], 0, 1, 0.05 + 0.3 + 0.05),
    ],
)
def test_the_price_is_the_one_that_held(changes: Any, began: float, ended: float, usd: float) -> None:
    """The first change before the beginning is what AWS answers with; one after the end counts for nothing."""
    assert usd_between(changes, at(began), at(ended)) == pytest.approx(usd)


def box(instance: str = "i-1", began: float = 0, ended: float | None = 1, **more: Any) -> Sighting:
    machine = Machine(type=POOL[0], zone=POOL[1], launched=at(began), volume_gb=100)
    return Sighting(instance, machine, ended=None if ended is None else at(ended), **more)


def receipt(*seen: Sighting, **more: Any) -> Receipt:
    given: dict[str, Any] = {
        "spot": {POOL: [(at(-5), 0.2)]},
        "on_demand": {POOL[0]: 0.5},
        "highest": 0.526,
        "gb_hours": 0.0,
        "now": at(10),
    }
    return make_receipt("demo", "us-east-1", seen, **given | more)


def test_a_run_of_two_attempts() -> None:
    made = receipt(box("i-2", 2, 5), box("i-1", 0, 1), gb_hours=7200)
    assert [(one.number, one.instance, one.seconds) for one in made.attempts] == [(1, "i-1", 3600), (2, "i-2", 10800)]
    assert made.instances_usd == pytest.approx(4 * 0.2)
    assert made.on_demand_usd == pytest.approx(4 * 0.5)
    assert made.saved_percent == pytest.approx(60)
    beside = {line.what: line.usd for line in made.lines}
    assert beside == {
        "volumes": pytest.approx(100 * 4 / 720 * 0.08),
        "public IPv4": pytest.approx(4 * 0.005),
        "S3 storage": pytest.approx(10 * 0.023),
    }
    assert made.total_usd == pytest.approx(made.instances_usd + sum(beside.values()))
    assert made.notes == ()


def test_one_that_runs_is_counted_until_now() -> None:
    (one,) = receipt(box(began=9, ended=None, lives=True)).attempts
    assert (one.seconds, one.ended, one.end_is_certain) == (3600, None, True)


def test_a_minute_is_the_least() -> None:
    (one,) = receipt(box(began=0, ended=0.001)).attempts
    assert one.seconds == prices.MINIMUM_SECONDS
    assert one.usd == pytest.approx(0.2 / 60)


def test_the_last_sign_of_life_is_an_end_that_is_not_certain() -> None:
    made = receipt(box(ended=None, signs=[at(0.1), at(0.5), at(0.2)]))
    assert (made.attempts[0].ended, made.attempts[0].end_is_certain) == (at(0.5), False)
    assert made.notes == ("the end of i-1 is its last sign of life: it may have been billed for some seconds more",)


def test_where_no_price_is_known_the_highest_counts_and_it_is_told() -> None:
    made = receipt(box(), spot={}, on_demand={})
    assert made.instances_usd == pytest.approx(0.526)
    assert (made.attempts[0].usd_per_hour, made.on_demand_usd, made.saved_percent) == (None, None, None)
    assert "no spot price is known for i-1: counted at $0.526 an hour" in made.notes[0]


def test_a_comparison_with_half_of_the_prices_is_none() -> None:
    other = Sighting("i-2", Machine(type="g5.xlarge", zone="us-east-1a", launched=at(2)), ended=at(3))
    assert receipt(box(), other).on_demand_usd is None


def test_a_box_of_which_only_its_name_is_known_costs_a_minute() -> None:
    made = receipt(Sighting("i-9"))
    assert (made.attempts[0].began, made.attempts[0].seconds) == (None, 60)
    assert made.instances_usd == pytest.approx(0.526 / 60)
    assert made.notes[0].startswith("when i-9 began is not known")


@pytest.mark.parametrize(("hours", "free"), [(0.5, 0.1), (1.5, 0)])
def test_what_ec2_interrupts_in_its_first_hour_is_not_charged(hours: float, free: float) -> None:
    made = receipt(box(ended=hours, interrupted=True), box("i-2", 3, 3.5))
    assert made.not_charged_usd == pytest.approx(free)
    assert made.instances_usd == pytest.approx(0.2 * (hours + 0.5)), "it stays in the sum, which is an upper bound"


def test_no_attempt_costs_nothing() -> None:
    made = receipt()
    assert (made.total_usd, made.attempts, made.on_demand_usd, made.saved_percent) == (0, (), None, None)


def test_what_a_run_wrote_tells_of_its_boxes() -> None:
    machine = Machine(type=POOL[0], zone=POOL[1], launched=at(0), volume_gb=100)
    events = [
        Event(time=at(0.1), kind="booting", instance="i-1", machine=machine),
        Event(time=at(0.5), kind="notice", instance="i-1", message="spot: this instance ends at 12:32"),
        Event(time=at(0.6), kind="interrupted", instance="i-1"),
        Event(time=at(0.8), kind="booting", instance="i-2"),
        Event(time=at(0.9), kind="notice", instance="i-2", message="stop: somebody asked"),
    ]
    seen = sightings_of(events, [("i-2", at(1.5)), ("i-3", at(2))])
    assert (seen["i-1"].began, seen["i-1"].end(), seen["i-1"].interrupted) == (at(0), (at(0.6), False), True)
    assert (seen["i-2"].began, seen["i-2"].end(), seen["i-2"].interrupted) == (at(0.8), (at(1.5), False), False)
    assert seen["i-3"].signs == [at(2)]
