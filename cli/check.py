"""`signspot check`: what would go wrong, before it costs anything. Enters: settings. Leaves: findings and a forecast.

Everything is only looked at: nothing is created, no file is written. What is not known is said to be unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as Manners
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ValidationError
from rich.console import Console

from cli.address import find_address
from cli.live import Client
from cli.preflight import account, laptop, market, quota
from cli.preflight.facts import Dataset, Facts, Price, Up
from cli.preflight.finding import Check, Finding, Verdict, run_checks, unknown
from cli.preflight.forecast import Forecast, forecast
from cli.preflight.screen import show_report
from cli.project import Project
from cli.refusal import refused
from contract.layout import RunLayout
from contract.status import Event, Status

SECONDS = 45.0
"""A check without an answer by then is told as such; a local dataset may take longer."""
MANNERS = Manners(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 2})
LATEST_EVENTS = 50


class Report(BaseModel):
    """What `signspot check --json` prints."""

    run: str
    region: str | None
    account: str | None
    good: bool
    """AWS said who asks and whether the run is up, and nothing was found that keeps it from starting."""
    findings: list[Finding]
    prices: list[Price]
    dataset: Dataset | None
    forecast: Forecast | None


@dataclass
class Laptop:
    """What a check asks; tests put others in their place."""

    client: Client
    credentials: Any
    """As botocore resolved them; None: there are none."""
    region: str | None
    address: Callable[[], str] = find_address
    home: Path = field(default_factory=Path.home)

    @classmethod
    def own(cls) -> Laptop:
        """Raises CloudError: a profile that is not there."""
        with refused("AWS cannot be asked"):
            session = boto3.Session()
            credentials = session.get_credentials()
        lock, made = threading.Lock(), dict[str, Any]()

        def client(service: str) -> Any:
            with lock:  # a session makes one client at a time
                if service not in made:
                    made[service] = session.client(service, config=MANNERS)  # type: ignore[call-overload]
                return made[service]

        return cls(client, credentials, session.region_name)


def check(project: Project, laptop_: Laptop, now: datetime | None = None) -> tuple[Report, Facts]:
    """Looks at everything; leaves what was found, and the facts it rests on."""
    now, facts = now or datetime.now(UTC), Facts()
    limits, types = project.config.limits, project.config.machine.instance_types
    client, local = laptop_.client, _local(project, laptop_, facts)
    remote: list[Check] = []
    first = _credentials(laptop_, facts, now)
    if facts.account:
        remote = [
            Check("CDK bootstrap", lambda: account.look_at_bootstrap(client, facts)),
            Check("run", lambda: account.look_at_run(client, project.run, project.config.machine.boxes, facts)),
            Check("spot quota", lambda: quota.look_at_quotas(client, project.config.machine, project.run, facts)),
            Check("instance types", lambda: market.look_at_zones(client, types)),
            Check("spot price", lambda: market.look_at_prices(client, types, limits.max_price_per_hour, now, facts)),
            Check("image", lambda: laptop.look_at_image(client, project)),
        ]
    findings = first + run_checks(remote + local, SECONDS)
    if not facts.account:
        findings.append(unknown("AWS", "bootstrap, quotas, zones, prices and image were not asked"))
    status, events = _past(client, project.run, facts.up)
    report = Report(
        run=project.run,
        region=laptop_.region,
        account=facts.account or None,
        good=bool(facts.account) and not any(map(_forbids, findings)),
        findings=findings,
        prices=facts.prices,
        dataset=facts.dataset,
        forecast=forecast(project.config, facts.prices, facts.up, status, events, now),
    )
    return report, facts


def _forbids(finding: Finding) -> bool:
    """What a run that is up keeps, its ceiling too, must be known: a deploy would plan with another one."""
    return finding.verdict is Verdict.BAD or (finding.check == "run" and finding.verdict is Verdict.UNKNOWN)


def _credentials(laptop_: Laptop, facts: Facts, now: datetime) -> list[Finding]:
    if laptop_.credentials is not None and laptop_.region is None:
        mend = "export AWS_REGION=us-east-1"
        return [Finding(check="region", verdict=Verdict.BAD, text="this laptop names no region", mend=mend)]
    look = Check(
        "credentials",
        lambda: account.look_at_credentials(laptop_.client, laptop_.credentials, now, facts),
    )
    return run_checks([look], SECONDS)


def _local(project: Project, laptop_: Laptop, facts: Facts) -> list[Check]:
    checks = [
        Check("Node and CDK", laptop.look_at_tools),
        Check("own address", lambda: laptop.look_at_address(project, laptop_.address)),
        Check("SSH key", lambda: laptop.look_at_key(project, laptop_.home)),
    ]
    if project.config.run.code:
        checks.append(Check("trainer", lambda: laptop.look_at_code(project)))
    if project.data is not None:
        checks.append(Check("dataset", lambda: laptop.look_at_dataset(project, facts)))
    elif facts.account:
        checks.append(Check("dataset", lambda: laptop.look_at_dataset_in_s3(laptop_.client, project, facts)))
    return checks


def _past(client: Client, run: str, up: Up | None) -> tuple[Status | None, list[Event]]:
    """What a run that is up has said so far; nothing where it cannot be read: this is for a forecast only."""
    if up is None:
        return None, []
    s3, layout = client("s3"), RunLayout(run)

    def read(key: str) -> bytes:
        body: bytes = s3.get_object(Bucket=up.bucket, Key=key)["Body"].read()
        return body

    try:
        listed = s3.list_objects_v2(Bucket=up.bucket, Prefix=layout.events).get("Contents", [])
        keys = sorted(one["Key"] for one in listed)[-LATEST_EVENTS:]
        events = [Event.model_validate_json(read(key)) for key in keys]
        return Status.model_validate_json(read(layout.status)), events
    except (ClientError, BotoCoreError, ValidationError):
        return None, []


def show(report: Report, console: Console, now: datetime | None = None) -> None:
    where = f", {report.region}" if report.region else ""
    if report.findings[0].verdict is Verdict.BAD and report.account is None:
        console.print(f"{report.findings[0].text}: {report.findings[0].mend}", style="bold red", markup=False)
    console.print(f"run {report.run}{where}", style="bold", markup=False)
    show_report(report.findings, report.prices, report.forecast, now or datetime.now(UTC), console)
    bad = sum(finding.verdict is Verdict.BAD for finding in report.findings)
    console.print()
    if bad:
        console.print(f"{bad} of {len(report.findings)} checks failed: each ✗ says what mends it", style="bold red")
    elif not report.good:
        console.print("AWS did not say what a deploy has to know: try again", style="bold red")
    else:
        console.print("nothing keeps this run from starting: signspot deploy", style="bold green")
