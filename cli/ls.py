"""`signspot ls`: every run of ours in the account and region, by its tag. Enters: credentials. Leaves: a line for each.

Nothing is kept on the laptop: stacks, what lives, and what the boxes said are asked anew. A stack without our tag, or
of another name, is somebody else's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from cli.cost import receipt_of
from cli.halt import find_all
from cli.kinds import TAG
from cli.live import Client
from cli.refusal import refused
from cli.stacks import GONE
from cli.status import read_status
from cli.stop import Writers
from contract.ceiling import kept_by
from contract.errors import CloudError, StorageError
from contract.status import Phase, Status

PREFIX = "signspot-"
AT_ONCE = 4


class Row(BaseModel):
    """One run."""

    run: str
    phase: str
    """As the box said; `unknown` where nobody can say."""
    reason: str = ""
    step: int = 0
    steps: int = 0
    checkpoint_step: int = 0
    checkpoint_age_seconds: float | None = None
    """Of the newest verified checkpoint; None: there is none."""
    instances: tuple[str, ...] = ()
    """What lives."""
    desired: int = 0
    """Instances that its group wants."""
    usd: float | None = None
    """Of its instances so far, as `signspot cost` has it."""
    usd_at_most: float | None = None
    """What they may cost at most."""
    stop_at: datetime | None = None
    """When the group goes to 0, whatever happens."""
    stack: str = ""
    """CloudFormation's status of it; empty: there is none."""
    note: str = ""
    """What could not be found out, and why."""


class Listing(BaseModel):
    region: str
    runs: tuple[Row, ...]


def list_runs(client: Client, now: datetime) -> Listing:
    """Raises CloudError: AWS does not say which stacks there are, or what lives."""
    client = cache(client)
    for service in ("s3", "autoscaling", "ec2", "cloudformation"):  # boto3 makes no two at the same time
        client(service)
    stacks, living = _stacks(client), find_all(client)
    runs = sorted(set(stacks) | {run for run, found in living.items() if found.lives})
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ls") as pool:
        rows = pool.map(lambda run: _row(client, run, stacks.get(run), living.get(run, Writers()), now), runs)
        return Listing(region=client("ec2").meta.region_name, runs=tuple(rows))


def _stacks(client: Client) -> dict[str, dict[str, Any]]:
    """Run → the answer to DescribeStacks about its stack."""
    cloudformation, found = client("cloudformation"), {}
    with refused("AWS does not say which stacks there are"):
        for page in cloudformation.get_paginator("list_stacks").paginate():
            for one in page["StackSummaries"]:
                if one["StackStatus"] == GONE or not one["StackName"].startswith(PREFIX):
                    continue
                answer = cloudformation.describe_stacks(StackName=one["StackId"])
                tags = {tag["Key"]: tag["Value"] for tag in answer["Stacks"][0].get("Tags", [])}
                if tags.get(TAG) == one["StackName"].removeprefix(PREFIX):
                    found[tags[TAG]] = answer
    return found


def _row(client: Client, run: str, answer: dict[str, Any] | None, found: Writers, now: datetime) -> Row:
    alive = {"instances": tuple(sorted(found.instances)), "desired": sum(found.groups.values())}
    if answer is None:
        note = "there is no stack, but something lives: signspot stop, signspot destroy"
        return Row(run=run, phase="unknown", note=note, **alive)
    stack = answer["Stacks"][0]
    row = Row(run=run, phase="unknown", stack=stack["StackStatus"], **alive)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    said: dict[str, Any] = {}
    try:
        ceiling, _ = kept_by(answer)
        said |= {"usd_at_most": float(ceiling.usd), "stop_at": ceiling.stop_at}
        if "Bucket" in outputs:
            said |= _said(read_status(client("s3"), outputs["Bucket"], run), now)
            said |= {"usd": receipt_of(client, run, now, outputs=outputs, compare=False).instances_usd}
    except (CloudError, StorageError) as error:
        said |= {"note": f"{error.what}: {error.why}"}
    return row.model_copy(update=said)


def _said(status: Status, now: datetime) -> dict[str, Any]:
    time = status.checkpoint_time
    return {
        "phase": str(status.phase),
        "reason": status.reason,
        "step": status.progress.step,
        "steps": status.progress.steps,
        "checkpoint_step": status.checkpoint_step,
        "checkpoint_age_seconds": (now - time).total_seconds() if time else None,
    }


def show(listing: Listing, now: datetime, console: Console) -> None:
    if not listing.runs:
        return console.print(f"no run of ours in {listing.region} of this account")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("run", "phase", "step", "saved", "lives", "$ so far", "ends (UTC)"):
        table.add_column(name, no_wrap=name in ("step", "lives"), min_width=8, overflow="fold")
    for row in listing.runs:
        age = row.checkpoint_age_seconds
        table.add_row(
            row.run,
            _phase(row),
            f"{row.step}/{row.steps}" if row.steps else str(row.step or "-"),
            "-" if age is None else f"{row.checkpoint_step}, {_ago(age)}",
            ", ".join(row.instances) or ("waiting" if row.desired else "-"),
            f"{_usd(row.usd)} of {_usd(row.usd_at_most)}",
            "?" if row.stop_at is None else f"{row.stop_at:%m-%d %H:%M}{' passed' if row.stop_at <= now else ''}",
            style="bold red" if row.note else "",
        )
    console.print(table)
    for row in listing.runs:
        if row.note:
            console.print(f"{row.run}: {row.note}", style="red", markup=False)


def _phase(row: Row) -> str:
    resting = not row.desired and not row.instances
    if resting and row.phase == Phase.INTERRUPTED:
        return "stopped"
    return f"{row.phase}, ended" if resting and row.phase in (Phase.BOOTING, Phase.TRAINING) else row.phase


def _usd(usd: float | None) -> str:
    return "?" if usd is None else f"{usd:.2f}"


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
