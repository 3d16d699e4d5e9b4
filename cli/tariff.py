"""What AWS says things cost. Enters: what ran, and when. Leaves: prices, and what was billed by the run's tag."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from cli.kinds import TAG
from cli.live import Client
from cli.refusal import refused
from contract import prices
from contract.errors import CloudError
from contract.receipt import Bill, Change, Prices, Sighting

PRICES_KEPT = timedelta(days=90)
PRODUCT = "Linux/UNIX"


def spot_prices(client: Client, seen: Iterable[Sighting], now: datetime, notes: list[str]) -> Prices:
    """Of the types that ran, from the first launch on."""
    known = [one for one in seen if one.machine.type and one.began]
    history: dict[tuple[str, str], list[Change]] = defaultdict(list)
    if not known:
        return history
    first = max(min(one.began for one in known if one.began), now - PRICES_KEPT)
    types = sorted({one.machine.type for one in known})
    question = {"InstanceTypes": types, "ProductDescriptions": [PRODUCT], "StartTime": first, "EndTime": now}
    try:
        with refused("AWS does not say what spot instances cost"):
            for page in client("ec2").get_paginator("describe_spot_price_history").paginate(**question):
                for one in page["SpotPriceHistory"]:
                    change = one["Timestamp"], float(one["SpotPrice"])
                    history[one["InstanceType"], one["AvailabilityZone"]].append(change)
    except CloudError as error:
        notes.append(f"{error.what}: {error.why}")
    return {pool: sorted(changes) for pool, changes in history.items()}


def on_demand_price(client: Client, type_: str, region: str) -> float | None:
    """Dollars an hour, Linux, by AWS's price list (asking it is free); what we know ourselves where it is silent."""
    wanted = {
        "instanceType": type_,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    with suppress(ClientError, BotoCoreError, CloudError, ValueError, KeyError):
        for text in client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]:
            for term in json.loads(text)["terms"]["OnDemand"].values():
                for dimension in term["priceDimensions"].values():
                    return float(dimension["pricePerUnit"]["USD"])
    return prices.ON_DEMAND_USD_PER_HOUR if (type_, region) == prices.KNOWN else None


def bill(client: Client, run: str, seen: Iterable[Sighting], now: datetime, notes: list[str]) -> Bill | None:
    """What Cost Explorer has; the question costs $0.01."""
    first = min((one.began for one in seen if one.began), default=now)
    period = {"Start": f"{first:%Y-%m-%d}", "End": f"{now + timedelta(days=1):%Y-%m-%d}"}
    with refused("Cost Explorer does not answer (it takes ce:GetCostAndUsage)"):
        answer = client("ce").get_cost_and_usage(
            TimePeriod=period,
            Granularity="DAILY",
            Metrics=["UnblendedCost"],
            Filter={"Tags": {"Key": TAG, "Values": [run]}},
            GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}],
        )
    services: dict[str, float] = defaultdict(float)
    until = ""
    for day in answer["ResultsByTime"]:
        for group in day.get("Groups", []):
            services[group["Keys"][0]] += float(group["Metrics"]["UnblendedCost"]["Amount"])
            until = max(until, day["TimePeriod"]["End"])
    if not services:
        notes.append(
            f"Cost Explorer has nothing by the tag {TAG} yet: figures arrive a day late, and only once the tag is "
            "activated as a cost allocation tag in Billing (from then on, not for before)"
        )
        return None
    end = datetime.fromisoformat(until[:10]).replace(tzinfo=UTC)
    return Bill(usd=sum(services.values()), services=dict(services), until=end)
