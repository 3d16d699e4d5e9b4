"""Where the machine is to be had, and at what price. Enters: types, the highest price. Leaves: findings, prices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cli.live import Client
from cli.preflight.facts import Facts, Price
from cli.preflight.finding import Finding, ask, bad, good, warn
from cli.tariff import PRODUCT

WEEK = timedelta(days=7)
Change = tuple[datetime, float]
"""From when on, dollars an hour."""


def look_at_zones(client: Client, types: Sequence[str]) -> Iterator[Finding]:
    """Which zones of the region offer which type."""
    ec2 = client("ec2")
    name, region = "instance types", ec2.meta.region_name
    filters = [{"Name": "instance-type", "Values": list(types)}]
    offers = ask(ec2, "describe_instance_type_offerings", LocationType="availability-zone", Filters=filters)
    zones: dict[str, set[str]] = defaultdict(set)
    for offer in offers["InstanceTypeOfferings"]:
        zones[offer["InstanceType"]].add(offer["Location"])
    shown = [f"{one} in {_short(zones[one], region)}" for one in types if zones[one]]
    missing = [one for one in types if not zones[one]]
    if not shown:
        yield bad(
            name,
            f"{region} has no {' and no '.join(missing)}",
            "another region (export AWS_REGION=us-east-1), or another machine.instance_types",
        )
    elif missing:
        text = f"{'; '.join(shown)}; none in {region}: {', '.join(missing)}"
        yield warn(name, text, "take it out of machine.instance_types")
    else:
        yield good(name, "; ".join(shown))


def _short(zones: set[str], region: str) -> str:
    """`us-east-1a b d`."""
    letters = [zone.removeprefix(region) for zone in sorted(zones)]
    return f"{region}{' '.join(letters)}"


def look_at_prices(
    client: Client, types: Sequence[str], highest: float, now: datetime, facts: Facts
) -> Iterator[Finding]:
    """`highest`: dollars an hour that the run accepts. Fills in `facts.prices`, cheapest first."""
    name = "spot price"
    answer = ask(
        client("ec2"),
        "describe_spot_price_history",
        InstanceTypes=list(types),
        ProductDescriptions=[PRODUCT],
        StartTime=now - WEEK,
        EndTime=now,
    )
    changes: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for one in answer["SpotPriceHistory"]:
        changes[one["InstanceType"], one["AvailabilityZone"]].append((one["Timestamp"], float(one["SpotPrice"])))
    facts.prices = sorted(
        (price_of(*pool, history, highest, now) for pool, history in changes.items()),
        key=lambda price: (price.now, price.type, price.zone),
    )
    if not facts.prices:
        yield bad(name, f"there is none for {', '.join(types)}", "another region, or another machine.instance_types")
        return
    cheapest, peak = facts.prices[0], max(price.max_7d for price in facts.prices)
    text = f"${cheapest.now:.4f} an hour ({cheapest.type}, {cheapest.zone}); 7 days: at most ${peak:.4f}"
    fitting = sum(price.fits for price in facts.prices)
    if not fitting:
        raised = f"-c max_price_per_hour={cheapest.now * 1.5:.3f}"
        yield bad(name, f"{text}; you accept ${highest:g}", f"{raised}, or wait; it raises the ceiling, too")
    elif fitting < len(facts.prices) or peak > highest:
        text += f"; you accept ${highest:g}: {fitting} of {len(facts.prices)} pools are below it now"
        yield warn(name, text, "a higher limits.max_price_per_hour is interrupted less often")
    else:
        yield good(name, f"{text}; you accept ${highest:g}")


def price_of(type_: str, zone: str, history: Sequence[Change], highest: float, now: datetime) -> Price:
    """`history`: the changes, with the one that held at the beginning of the week; in any order."""
    ordered = sorted(history)
    ends = [*(since for since, _ in ordered[1:]), now]
    held = [
        (value, (max(end, now - WEEK) - max(since, now - WEEK)).total_seconds())
        for (since, value), end in zip(ordered, ends, strict=True)
    ]
    return Price(
        type=type_,
        zone=zone,
        now=ordered[-1][1],
        median_7d=_median([part for part in held if part[1] > 0] or [(ordered[-1][1], 1.0)]),
        max_7d=max(value for value, seconds in held if seconds > 0 or len(held) == 1),
        fits=ordered[-1][1] <= highest,
    )


def _median(held: Sequence[tuple[float, float]]) -> float:
    """The price below which it was half of the time."""
    half, passed = sum(seconds for _, seconds in held) / 2, 0.0
    for value, seconds in sorted(held):
        passed += seconds
        if passed >= half:
            return value
    raise ValueError("no price")
