"""What a run cost: arithmetic, and nothing else. Enters: what is known of its instances and prices. Leaves: a receipt.

Dollars are AWS's prices times the seconds that were seen; AWS's bill may differ by a cent, and is the truth. Spot
instances are billed by the second, a minute at least; the price is the one that held in the zone in each second:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-history.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from contract import prices
from contract.layout import RunLayout
from contract.status import Event, Machine

HOUR = timedelta(hours=1)
FREE_WITHIN = HOUR
"""An instance that EC2 interrupts in its first hour is not charged:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-for-interrupted-spot-instances.html"""
Change = tuple[datetime, float]
"""From when on, dollars an hour."""
Prices = Mapping[tuple[str, str], Sequence[Change]]
"""Type and zone → its price changes, oldest first."""


class Attempt(BaseModel):
    """One instance of the run."""

    number: int
    instance: str
    type: str
    zone: str
    began: datetime | None
    ended: datetime | None
    """None: it runs."""
    end_is_certain: bool
    """False: the last sign of life; it may have been billed for some seconds more."""
    seconds: float
    """Billed."""
    usd_per_hour: float | None
    """Mean spot price of these seconds; None: AWS does not say any more."""
    usd: float
    """At the highest price that the run accepts, where the price is not known."""
    on_demand_usd: float | None
    """None: the price is not known."""


class Line(BaseModel):
    """Something beside the instances: an estimate."""

    what: str
    quantity: str
    usd: float
    source: str
    """Of the price."""


class Bill(BaseModel):
    """What Cost Explorer has by the run's tag."""

    usd: float
    services: dict[str, float]
    until: datetime
    """Days after it have not arrived."""


class Receipt(BaseModel):
    run: str
    region: str
    made_at: datetime
    attempts: tuple[Attempt, ...]
    lines: tuple[Line, ...]
    instances_usd: float
    total_usd: float
    on_demand_usd: float | None
    """What the same seconds of the same instances cost on demand; None where a price is not known."""
    saved_percent: float | None
    """Of it."""
    not_charged_usd: float
    """Contained in the dollars above: of instances that EC2 itself interrupted in their first hour, which AWS does not
    charge."""
    billed: Bill | None
    notes: tuple[str, ...]


@dataclass
class Sighting:
    """Whatever is known of one instance. AWS's own word, where there is one, comes before the box's."""

    instance: str
    machine: Machine = field(default_factory=Machine)
    launched: datetime | None = None
    """As EC2 or its group says."""
    ended: datetime | None = None
    """As the group says."""
    lives: bool = False
    signs: list[datetime] = field(default_factory=list)
    """When it wrote something."""
    interrupted: bool = False
    """EC2 told it so."""
    fixed_price: float | None = None
    """Dollars an hour of one that is on demand; None: it is spot."""

    @property
    def began(self) -> datetime | None:
        return self.launched or self.machine.launched or min(self.signs, default=None)

    def end(self) -> tuple[datetime | None, bool]:
        """And whether that is certain."""
        if self.lives:
            return None, True
        if self.ended:
            return self.ended, True
        return max(self.signs, default=self.began), False


@dataclass
class Left:
    """What a run's objects in S3 tell without being read."""

    events: list[str] = field(default_factory=list)
    """Keys, in the order in which they happened."""
    written: list[tuple[str, datetime]] = field(default_factory=list)
    """Instance, and when it wrote something else."""
    gb_hours: float = 0.0
    """How much lies there, times how long by now."""


def left_of(layout: RunLayout, listed: Iterable[Mapping[str, Any]], now: datetime) -> Left:
    """`listed`: `Contents` of ListObjectsV2."""
    left = Left()
    for found in listed:
        key, time = found["Key"], found["LastModified"]
        left.gb_hours += found["Size"] / 2**30 * max(timedelta(), now - time) / HOUR
        if key.startswith(layout.events):
            left.events.append(key)
        elif key.startswith(layout.logs):
            left.written.append((key.removeprefix(layout.logs).partition("/")[0], time))
    left.events.sort()
    return left


def heads_of(events: Iterable[Event]) -> set[str]:
    """Instances that take over a run: of a cluster its heads, for a worker says other words."""
    return {event.instance for event in events if event.kind == "booting"}


def sightings_of(events: Iterable[Event], written: Iterable[tuple[str, datetime]]) -> dict[str, Sighting]:
    """By instance. `written`: instance and time of what else it left in S3."""
    found: dict[str, Sighting] = {}
    for event in events:
        seen = found.setdefault(event.instance, Sighting(event.instance))
        seen.signs.append(event.time)
        seen.machine = event.machine or seen.machine
        seen.interrupted |= event.kind == "notice" and event.message.startswith("spot:")
    for instance, time in written:
        found.setdefault(instance, Sighting(instance)).signs.append(time)
    return found


def usd_between(changes: Sequence[Change], began: datetime, ended: datetime) -> float:
    """Dollars from `began` to `ended`; before the first change its price counts. `changes` is not empty."""
    ends = [*(since for since, _ in changes[1:]), ended]
    total = 0.0
    for index, ((since, usd_per_hour), until) in enumerate(zip(changes, ends, strict=True)):
        begin = began if index == 0 else max(since, began)
        total += max(timedelta(), min(until, ended) - begin) / HOUR * usd_per_hour
    return total


def attempt_of(
    number: int, seen: Sighting, spot: Prices, on_demand: Mapping[str, float], highest: float, now: datetime
) -> Attempt:
    """`highest`: dollars an hour that the run accepts."""
    began, (ended, certain) = seen.began, seen.end()
    shortest = timedelta(seconds=prices.MINIMUM_SECONDS)
    span = max((ended or now) - began, shortest) if began else shortest
    changes = spot.get((seen.machine.type, seen.machine.zone), ())
    if seen.fixed_price is not None and began:
        changes = [(began, seen.fixed_price)]
    usd = usd_between(changes, began, began + span) if changes and began else None
    hours = span / HOUR
    price = on_demand.get(seen.machine.type)
    return Attempt(
        number=number,
        instance=seen.instance,
        type=seen.machine.type,
        zone=seen.machine.zone,
        began=began,
        ended=ended,
        end_is_certain=certain,
        seconds=span.total_seconds(),
        usd_per_hour=None if usd is None else usd / hours,
        usd=highest * hours if usd is None else usd,
        on_demand_usd=None if price is None else price * hours,
    )


def make_receipt(
    run: str,
    region: str,
    seen: Iterable[Sighting],
    *,
    spot: Prices,
    on_demand: Mapping[str, float],
    highest: float,
    gb_hours: float,
    now: datetime,
    billed: Bill | None = None,
    notes: Sequence[str] = (),
) -> Receipt:
    """`gb_hours`: what lay in S3, times how long. `highest`: dollars an hour that the run accepts."""
    ordered = sorted(seen, key=lambda one: (one.began or now, one.instance))
    attempts = tuple(attempt_of(i, one, spot, on_demand, highest, now) for i, one in enumerate(ordered, 1))
    lines = _beside(attempts, [one.machine.volume_gb for one in ordered], gb_hours)
    instances = sum(attempt.usd for attempt in attempts)
    known = [attempt.on_demand_usd for attempt in attempts]
    on_demand_usd = None if None in known or not known else sum(filter(None, known))
    free = [
        attempt.usd
        for attempt, one in zip(attempts, ordered, strict=True)
        if one.interrupted and attempt.ended and attempt.seconds < FREE_WITHIN.total_seconds()
    ]
    return Receipt(
        run=run,
        region=region,
        made_at=now,
        attempts=attempts,
        lines=lines,
        instances_usd=instances,
        total_usd=instances + sum(line.usd for line in lines),
        on_demand_usd=on_demand_usd,
        saved_percent=100 * (1 - instances / on_demand_usd) if on_demand_usd else None,
        not_charged_usd=sum(free),
        billed=billed,
        notes=(*notes, *_notes(attempts, highest)),
    )


def _beside(attempts: Sequence[Attempt], volumes_gb: Sequence[int], gb_hours: float) -> tuple[Line, ...]:
    """Volume, address and storage."""
    hours = [attempt.seconds / 3600 for attempt in attempts]
    volume = sum(gb * time for gb, time in zip(volumes_gb, hours, strict=True)) / prices.MONTH_HOURS
    stored, total = gb_hours / prices.MONTH_HOURS, sum(hours)
    return (
        Line(
            what="volumes",
            quantity=f"{volume:.4f} GB-months",
            usd=volume * prices.GP3_USD_PER_GB_MONTH,
            source=prices.GP3_SOURCE,
        ),
        Line(
            what="public IPv4",
            quantity=f"{total:.2f} hours",
            usd=total * prices.IPV4_USD_PER_HOUR,
            source=prices.IPV4_SOURCE,
        ),
        Line(
            what="S3 storage",
            quantity=f"{stored:.4f} GB-months",
            usd=stored * prices.S3_USD_PER_GB_MONTH,
            source=prices.S3_SOURCE,
        ),
    )


def _notes(attempts: Sequence[Attempt], highest: float) -> Iterator[str]:
    def named(which: Callable[[Attempt], bool]) -> str:
        return ", ".join(attempt.instance for attempt in attempts if which(attempt))

    if unknown := named(lambda attempt: attempt.began is None):
        yield f"when {unknown} began is not known: counted as a minute"
    if seen := named(lambda attempt: attempt.began is not None and not attempt.end_is_certain):
        yield f"the end of {seen} is its last sign of life: it may have been billed for some seconds more"
    if unpriced := named(lambda attempt: attempt.usd_per_hour is None):
        yield f"no spot price is known for {unpriced}: counted at ${highest:g} an hour, the highest accepted"
