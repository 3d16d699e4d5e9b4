"""`signspot stop`: saves first, then pulls the brake, whatever became of saving. Enters: a run, or all. Leaves: 0.

Money goes first: groups are set to 0 also when the box never answers, when S3 is away, and on Ctrl-C. For `--all` what
lives is asked of AWS again at the end; nothing is concluded from what was asked before.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

from pydantic import BaseModel

from cli.fetch import Say
from cli.kinds import TAG
from cli.live import Client, not_terminated
from cli.refusal import refused
from cli.saving import SAVE_SECONDS, Safe, save_first
from cli.stop import Patience, Writers, brake, brake_again, end_run, lives_on
from contract.errors import StorageError

ALL_SECONDS = 30.0
"""How long `--all` waits for all boxes together: it is the emergency brake."""


class Stopped(BaseModel):
    """One run that was stopped."""

    run: str
    saved: bool | None
    """Whether all that was trained is in S3; None: it was not waited for."""
    step: int | None
    """Of the newest verified checkpoint, where it is known."""
    message: str
    groups: tuple[str, ...]
    """At 0."""
    instances: tuple[str, ...]
    """Those that lived; they are terminated."""


class Report(BaseModel):
    """What was stopped. It is only given when nothing lives any more."""

    region: str
    runs: tuple[Stopped, ...]

    @property
    def exit_code(self) -> int:
        """0, or StorageError's when something that was trained is lost."""
        return StorageError.exit_code if any(one.saved is False for one in self.runs) else 0


def stop_one(client: Client, brisk: Client, run: str, say: Say, patience: Patience, *, now: bool = False) -> Report:
    """`now`: without asking the box to save first. `brisk` gives up soon; it only asks.

    Raises:
        CloudError: there is no such run, AWS refuses, or an instance does not end.
    """
    safe: dict[str, Safe] = {}

    def save() -> None:
        safe.update(save_first(brisk, [run], say, patience, SAVE_SECONDS))

    ended = end_run(client, run, say, patience, None if now else save)
    stopped = _stopped(run, safe.get(run), ended.groups, ended.instances)
    return Report(region=client("ec2").meta.region_name, runs=(stopped,))


def find_all(client: Client) -> dict[str, Writers]:
    """Every run of ours in the account and region that has a group or an instance, by its tag.

    Raises:
        CloudError: AWS refuses to say; nothing may be concluded from that.
    """
    found: dict[str, Writers] = defaultdict(Writers)
    ours = [{"Name": "tag-key", "Values": [TAG]}]
    with refused("AWS does not say what lives in the account"):
        pages = client("autoscaling").get_paginator("describe_auto_scaling_groups").paginate(Filters=ours)
        for group in (group for page in pages for group in page["AutoScalingGroups"]):
            found[_run_of(group["Tags"])].groups[group["AutoScalingGroupName"]] = group["DesiredCapacity"]
        for instance in not_terminated(client("ec2"), ours):
            found[_run_of(instance["Tags"])].instances[instance["InstanceId"]] = instance["State"]["Name"]
    return dict(sorted(found.items()))


def stop_all(client: Client, brisk: Client, say: Say, patience: Patience, *, now: bool = False) -> Report:
    """Ask all boxes to save, set every group to 0, wait, and ask AWS again until nothing lives.

    Raises:
        CloudError: AWS refuses, or something lives on: it is named, with the command that ends it.
    """
    client = cache(client)
    region = client("ec2").meta.region_name
    seen = find_all(client)
    lively = [run for run, found in seen.items() if found.lives]
    say("stop", f"{len(seen)} runs have a group or an instance in {region}; {len(lively)} of them not at 0")
    safe: dict[str, Safe] = {}
    try:
        if lively and not now:
            safe = save_first(brisk, lively, say, patience, ALL_SECONDS)
    finally:
        refusals = brake(client("autoscaling"), _groups(seen), say, patience)
    left: dict[str, Writers] = {}

    def nothing_lives() -> bool:
        """What appears meanwhile, or is scaled up again, is braked at each look."""
        nonlocal refusals, left
        found = find_all(client)
        refusals = brake_again(client("autoscaling"), _groups(found), say, patience)
        for run, one in found.items():
            seen.setdefault(run, Writers()).add(one)
        left = {run: one for run, one in found.items() if one.lives}
        return not left

    if not patience.wait(nothing_lives):
        instances = [instance for found in left.values() for instance in found.instances]
        raise lives_on(_groups(left), instances, refusals, region, patience.limit_seconds)
    say("stop", f"AWS was asked again: no instance of ours lives in {region}, and every group is at 0")
    runs = (_stopped(run, safe.get(run), found.groups, found.instances) for run, found in seen.items())
    return Report(region=region, runs=tuple(runs))


def _groups(found: dict[str, Writers]) -> dict[str, int]:
    return {name: size for one in found.values() for name, size in one.groups.items()}


def _stopped(run: str, safe: Safe | None, groups: Any, instances: Any) -> Stopped:
    message = safe.message if safe else "not asked to save first"
    return Stopped(
        run=run,
        saved=safe.saved if safe else None,
        step=safe.step if safe else None,
        message=message,
        groups=tuple(sorted(groups)),
        instances=tuple(sorted(instances)),
    )


def _run_of(tags: list[dict[str, str]]) -> str:
    return next(tag["Value"] for tag in tags if tag["Key"] == TAG)
