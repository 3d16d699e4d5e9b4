"""Invariant I1 as arithmetic: whatever happens inside a run, it costs at most its ceiling.

The limits, what the stack keeps, what an extension adds and what a client reads back are computed by the real
functions. Around them stands a model of what AWS does: as many boxes at a time as were first deployed, each at any spot
price up to the highest one, beside several a head at its own price; billed for a minute at least, ended by a scheduled
action that may be two minutes late; a deploy that keeps parameters.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contract.ceiling import LATE, Ceiling, kept_by
from contract.config import MAXIMUM_HOURS, LimitsConfig, MachineConfig
from contract.errors import CloudError, ConfigError

T0 = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
BILLED_AT_LEAST = timedelta(minutes=1)
LATEST = timedelta(minutes=2)


def limits(hours: float = 8, usd: float = 5, price: float = 0.5) -> LimitsConfig:
    return LimitsConfig(max_hours=hours, max_usd=usd, max_price_per_hour=price)


def stack_with(parameters: dict[str, str], now: datetime) -> dict[str, Any]:
    """DescribeStacks' answer."""
    listed = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    headers = {"date": format_datetime(now.replace(microsecond=0), usegmt=True)}
    return {
        "Stacks": [{"StackName": "signspot-demo", "Parameters": listed}],
        "ResponseMetadata": {"HTTPHeaders": headers},
    }


anything = st.builds(
    limits,
    hours=st.floats(0.2, MAXIMUM_HOURS),
    usd=st.floats(0.5, 1000),
    price=st.one_of(st.floats(0.001, 2.4), st.sampled_from([0.1, 0.2, 0.526, 0.7])),
)


ONE = MachineConfig()
machines = st.integers(1, 4).map(lambda boxes: MachineConfig(boxes=boxes))
HEAD = -1


class OneRun(RuleBasedStateMachine):
    """Deploy, interrupt, replace, deploy again with any settings, extend; AWS's clock only goes forward."""

    @initialize(first=anything, machine=machines)
    def deploy(self, first: LimitsConfig, machine: MachineConfig) -> None:
        assume(first.hours(machine.boxes) >= 0.2)
        self.now = T0
        self.machine = machine
        self.kept = Ceiling.of(first, self.now, machine).parameters
        self.boxes: dict[int, tuple[datetime, Decimal]] = {}
        self.bill = Decimal(0)
        self.group_up = True
        assert Decimal(self.kept["CeilingUsd"]) <= Decimal(str(first.max_usd))

    @property
    def ceiling(self) -> Ceiling:
        return kept_by(stack_with(self.kept, self.now))[0]

    def _end_box(self, place: int, at: datetime) -> None:
        if place in self.boxes:
            began, price = self.boxes.pop(place)
            billed = max(at - began, BILLED_AT_LEAST)
            self.bill += Decimal(billed / timedelta(hours=1)) * price
            self.now = max(self.now, began + BILLED_AT_LEAST)  # replacing a box takes AWS longer than that

    @rule(place=st.integers(0, 3), share=st.just(1.0) | st.floats(0.01, 1))
    def a_box_comes_at_the_market_price(self, place: int, share: float) -> None:
        """Never above the highest price, wherever that lies: also above on-demand."""
        if self.group_up and place not in self.boxes and place < self.ceiling.boxes:
            self.boxes[place] = (self.now, self.ceiling.max_price * Decimal(str(share)))

    @rule()
    def a_head_comes(self) -> None:
        if self.group_up and HEAD not in self.boxes and self.ceiling.boxes > 1:
            self.boxes[HEAD] = (self.now, self.ceiling.head_price)

    @rule(seconds=st.integers(0, 40 * 3600), late=st.sampled_from([0, 50, int(LATEST.total_seconds())]))
    def time_passes(self, seconds: int, late: int) -> None:
        self.now += timedelta(seconds=seconds)
        killed = self.ceiling.stop_at + timedelta(seconds=late)
        if self.now >= killed and self.group_up:
            for place in list(self.boxes):
                self._end_box(place, killed)
            self.group_up = False

    @rule(place=st.integers(HEAD, 3))
    def a_box_is_taken_away(self, place: int) -> None:
        self._end_box(place, self.now)

    @rule(other=anything)
    def deploy_again(self, other: LimitsConfig) -> None:
        """What this synthesis computes is only a default; a group at 0 stays there."""
        self.kept = Ceiling.of(other, self.now, self.machine).parameters | self.kept

    @rule(boxes=st.integers(2, 64))
    def deploy_again_with_other_boxes(self, boxes: int) -> None:
        """From several to other several: what is kept holds for them too. From one to several `check` refuses."""
        if self.machine.boxes > 1:
            self.kept = (
                Ceiling.of(LimitsConfig(max_usd=1000), self.now, MachineConfig(boxes=boxes)).parameters | self.kept
            )

    @rule(hours=st.floats(0.2, 24))
    def extend(self, hours: float) -> None:
        before, aws_now = kept_by(stack_with(self.kept, self.now))
        if self.now >= before.stop_at and self.group_up:
            return  # the killer is due, and comes before CloudFormation has moved it
        try:
            after = before.extended(hours, aws_now)
        except ConfigError:
            assert before.hours + hours > MAXIMUM_HOURS
            return
        assert after.usd - before.usd <= Decimal(str(hours)) * before.rate + Decimal("0.01")
        self.kept |= {name: after.parameters[name] for name in ("StopAt", "CeilingUsd")}

    @rule()
    def restart(self) -> None:
        """By hand; after the end it lives until the killer comes again, every five minutes, so not at all here."""
        self.group_up = self.group_up or self.now < self.ceiling.stop_at

    @invariant()
    def it_costs_at_most_its_ceiling(self) -> None:
        if not hasattr(self, "kept"):
            return
        running = Decimal(0)
        for began, price in self.boxes.values():
            end = max(min(self.now, self.ceiling.stop_at + LATEST), began + BILLED_AT_LEAST)
            running += Decimal((end - began) / timedelta(hours=1)) * price
        assert self.bill + running <= self.ceiling.usd

    @invariant()
    def no_run_has_more_than_a_week(self) -> None:
        if hasattr(self, "kept"):
            paid = self.ceiling.usd - Decimal("0.01") * 50
            assert paid / self.ceiling.rate <= MAXIMUM_HOURS


OneRun.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOneRun = OneRun.TestCase


def test_a_redeploy_with_a_higher_price_used_to_cost_twice_the_ceiling() -> None:
    """Ten hours at 0.5 were kept while the price became 1.0 and the ceiling still said 5."""
    kept = Ceiling.of(limits(hours=20, usd=5, price=0.5), T0, ONE).parameters
    again = Ceiling.of(limits(hours=20, usd=5, price=1.0), T0 + timedelta(hours=1), ONE).parameters
    mended, _ = kept_by(stack_with(again | kept, T0))
    hours = (mended.stop_at - T0) / timedelta(hours=1)
    assert hours * 0.5 <= mended.usd == 5
    assert mended.max_price == Decimal("0.5")


@given(
    wanted=anything,
    machine=machines,
    now=st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_what_is_kept_reads_back_as_it_was(wanted: LimitsConfig, machine: MachineConfig, now: datetime) -> None:
    ceiling = Ceiling.of(wanted, now, machine)
    assert kept_by(stack_with(ceiling.parameters, now)) == (ceiling, now.replace(microsecond=0))


@given(wanted=anything, machine=machines)
def test_a_new_run_ends_in_time_and_within_its_dollars(wanted: LimitsConfig, machine: MachineConfig) -> None:
    ceiling = Ceiling.of(wanted, T0, machine)
    longest = ceiling.stop_at + LATEST + BILLED_AT_LEAST - T0  # a last box, launched when the killer came
    assert longest <= timedelta(hours=wanted.max_hours)
    assert Decimal(longest / timedelta(hours=1)) * ceiling.rate <= ceiling.usd <= Decimal(str(wanted.max_usd))


def test_an_extension_counts_from_the_end_that_is_kept() -> None:
    ceiling = Ceiling.of(limits(hours=8, price=0.526), T0, ONE)
    longer = ceiling.extended(2, T0 + timedelta(hours=3))
    assert longer.stop_at == ceiling.stop_at + timedelta(hours=2)
    assert (ceiling.usd, longer.usd) == (Decimal("4.21"), Decimal("5.27"))


def test_an_extension_counts_from_now_where_the_end_has_passed() -> None:
    later = T0.replace(microsecond=0) + timedelta(days=3)
    assert Ceiling.of(limits(), T0, ONE).extended(2, later).stop_at == later + timedelta(hours=2) - LATE


@pytest.mark.parametrize("hours", [0, -1, 0.1, float("nan"), 161, float("inf")])
def test_what_is_no_extension_is_refused(hours: float) -> None:
    with pytest.raises(ConfigError):
        Ceiling.of(limits(hours=8), T0, ONE).extended(hours, T0)


def test_a_stack_of_another_version_says_what_to_do() -> None:
    with pytest.raises(CloudError, match=r"(?s)does not keep its limits.*deploy it once"):
        kept_by(stack_with({"StopAt": "2030-01-01T12:00:00Z"}, T0))


@given(wanted=anything, ahead=st.integers(1, 100))
def test_destroyed_and_deployed_again_is_a_new_run(wanted: LimitsConfig, ahead: int) -> None:
    """With the parameters gone, nothing of the old ceiling is left."""
    old, new = Ceiling.of(wanted, T0, ONE), Ceiling.of(wanted, T0 + timedelta(hours=ahead), ONE)
    assert new.stop_at - old.stop_at == timedelta(hours=ahead) and new.usd == old.usd
