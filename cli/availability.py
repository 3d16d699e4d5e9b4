"""When spot instances could be had. Enters: trace files of real fleets, or rates and a seed. Leaves: offers.

Two formats, as https://github.com/uclasystem/bamboo has them: `milliseconds,add|remove,node` and `seconds,count`.
All times are whole milliseconds from the trace's beginning, so that sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import DataError

if TYPE_CHECKING:
    from numpy.random import Generator

SECOND = 1000
HOUR = 3600 * SECOND
Change = tuple[int, bool, str]
"""When, whether an instance was added, which."""


@dataclass(frozen=True)
class Offer:
    """An instance that could be had from `start` on and is taken away at `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class Trace:
    offers: tuple[Offer, ...]
    until: int
    """What came later is not known. An offer that ends here was not seen to be taken away."""

    def at(self, now: int) -> list[Offer]:
        """The instances that could be had now."""
        return [offer for offer in self.offers if offer.start <= now < offer.end]

    def before(self, until: int) -> Trace:
        """As if nothing were known from `until` on."""
        return Trace(tuple(Offer(o.start, min(o.end, until)) for o in self.offers if o.start < until), until)

    def next_start(self, now: int) -> int | None:
        return min((offer.start for offer in self.offers if offer.start > now), default=None)


def merge(zones: Sequence[Trace]) -> Trace:
    """Several zones at once, each from its beginning to where the shortest ends."""
    until = min(zone.until for zone in zones)
    return Trace(tuple(offer for zone in zones for offer in zone.before(until).offers), until)


def read(path: Path, random: Generator) -> Trace:
    """A trace file. Of a `seconds,count` file nobody knows which instance went; `random` chooses.

    Raises DataError for anything else.
    """
    try:
        rows = [line.strip().split(",") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", why=str(error)) from None
    try:
        if rows and all(len(row) == 3 for row in rows):
            return _trace([(int(time), _added(what), node) for time, what, node in rows])
        if rows and all(len(row) == 2 for row in rows):
            return _trace(_changes([(int(time) * SECOND, int(count)) for time, count in rows], random))
        raise ValueError("neither three columns in every line nor two")
    except ValueError as error:
        raise DataError(
            f"{path} is no trace",
            why=str(error),
            mend="lines `milliseconds,add|remove,node` or `seconds,count`, in the order of time",
        ) from None


def _added(what: str) -> bool:
    if what not in ("add", "remove"):
        raise ValueError(f"{what!r} is neither add nor remove")
    return what == "add"


def _changes(counts: Sequence[tuple[int, int]], random: Generator) -> list[Change]:
    """Instance "" comes and goes with the last line, which may change nothing, yet says until when it was watched."""
    if any(count < 0 for _, count in counts):
        raise ValueError("a count is negative")
    changes: list[Change] = []
    alive: list[str] = []
    for (_, before), (time, after) in pairwise([(0, 0), *counts]):
        for number in range(after - before):
            alive.append(f"{time}-{len(changes)}-{number}")
            changes.append((time, True, alive[-1]))
        for _ in range(before - after):
            changes.append((time, False, alive.pop(int(random.integers(len(alive))))))
    end = counts[-1][0]
    return [*changes, (end, True, ""), (end, False, "")]


def _trace(changes: Iterable[Change]) -> Trace:
    alive: dict[str, int] = {}
    offers: list[Offer] = []
    now = 0
    for time, added, node in changes:
        if time < now:
            raise ValueError(f"time goes back from {now} to {time}")
        if added == (node in alive):
            raise ValueError(f"{node} is {'added twice' if added else 'removed and was not there'} at {time}")
        now = time
        if added:
            alive[node] = time
        else:
            offers.append(Offer(alive.pop(node), time))
    offers += [Offer(start, now) for start in alive.values()]
    return Trace(tuple(offer for offer in offers if offer.start < offer.end), now)


@dataclass(frozen=True)
class Rates:
    """A zone that has an instance for us, then has none, in turns; both exponentially distributed."""

    up_hours: float
    """Mean. 1.8 in Bamboo's g4dn trace: 135.7 instance-hours, 74 instances taken away."""
    down_hours: float
    """Mean. An assumption: no trace at hand tells it, for fleets always had some instance left."""


def generate(zones: int, rates: Rates, until: int, random: Generator) -> Trace:
    """A synthetic trace of independent zones, each begun in its steady state."""
    return merge([_generate(rates, until, random) for _ in range(zones)])


def _generate(rates: Rates, until: int, random: Generator) -> Trace:
    now, offers = 0, []
    up = bool(random.random() < rates.up_hours / (rates.up_hours + rates.down_hours))
    while now < until:
        mean = rates.up_hours if up else rates.down_hours
        end = now + max(1, round(random.exponential(mean) * HOUR))
        if up:
            offers.append(Offer(now, min(end, until)))
        now, up = end, not up
    return Trace(tuple(offers), until)
