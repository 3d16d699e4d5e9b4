"""What `signspot status` says besides the box's own word: curves, money, the end. Each part may be unknown."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel

from cli.cost import receipt_of
from cli.live import Client, Live
from cli.logs import Logs, as_lines, last_lines
from cli.preflight.forecast import expected_end
from cli.status import Ending, Report, read_deadline
from cli.tariff import PRODUCT
from contract.errors import SignspotError
from contract.status import Status

CURVES = ("loss", "val_loss")
CURVE_LINES = 400
"""Of the end of the trainer's log."""
VALUE = re.compile(r"(?<![\w.])(?P<name>val_loss|loss)\s*[=: ]\s*(?P<value>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
"""As our trainer prints an epoch, and as many others do."""


class Details(BaseModel):
    curves: dict[str, list[float]]
    """Losses as the trainer printed them, oldest first."""
    usd: float | None
    """So far, by the spot prices that held, volumes, address and storage included. None: not known."""
    usd_per_hour: float | None
    """Spot, now, where the run is."""
    ceiling_usd: float | None
    stop_at: datetime | None
    """When the group goes to 0 whatever happens."""
    finish: datetime | None
    """When the planned steps are done at the pace of this attempt."""
    warnings: tuple[str, ...] = ()


class Told(Status):
    """What `signspot status --json` prints: the status as the box wrote it, and what this laptop found out."""

    live: Live | None
    """What AWS says; None when it does not."""
    ending: Ending | None
    """Of a run that ended without a word."""
    details: Details


def told(report: Report, details: Details) -> Told:
    warnings = (*report.status.warnings, *report.warnings, *details.warnings)
    more = {"live": report.live, "ending": report.ending, "details": details, "warnings": warnings}
    return Told.model_validate(report.status.model_dump() | more)


def look_closer(client: Client, outputs: Mapping[str, str], report: Report, now: datetime) -> Details:
    """Nothing here is needed: what AWS does not say is left out, and a warning says so."""
    status, warnings = report.status, list[str]()
    curves: dict[str, list[float]] = {}
    stop_at = usd = None
    try:
        curves = curves_in(_tail(client, outputs, status.run))
        stop_at = read_deadline(client("s3"), outputs["Bucket"], outputs, status.run)
        usd = receipt_of(client, status.run, now, compare=False, outputs=outputs).total_usd
    except SignspotError as error:
        warnings.append(f"{error.what}: {error.why}")
    return Details(
        curves=curves,
        usd=usd,
        usd_per_hour=_price(client, status.instance_type, status.zone, now),
        ceiling_usd=float(outputs["CeilingUsd"]) if "CeilingUsd" in outputs else None,
        stop_at=stop_at,
        finish=expected_end(status),
        warnings=tuple(warnings),
    )


def _tail(client: Client, outputs: Mapping[str, str], run: str) -> Iterable[str]:
    logs = Logs(client("s3"), outputs["Bucket"], run, "trainer")
    return [line.data.decode("utf-8", "replace") for line in as_lines(last_lines(logs, CURVE_LINES))]


def curves_in(lines: Iterable[str]) -> dict[str, list[float]]:
    """Losses by name; a line has each at most once."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        for name, value in {match["name"]: match["value"] for match in VALUE.finditer(line)}.items():
            found[name].append(float(value))
    return {name: found[name] for name in CURVES if name in found}


def _price(client: Client, type_: str, zone: str, now: datetime) -> float | None:
    if not type_ or not zone:
        return None
    asked: dict[str, Any] = {
        "InstanceTypes": [type_],
        "ProductDescriptions": [PRODUCT],
        "Filters": [{"Name": "availability-zone", "Values": [zone]}],
        "StartTime": now - timedelta(minutes=1),
    }
    try:
        history = client("ec2").describe_spot_price_history(**asked)["SpotPriceHistory"]
    except (ClientError, BotoCoreError):
        return None
    newest = max(history, key=lambda one: one["Timestamp"], default=None)
    return float(newest["SpotPrice"]) if newest else None
