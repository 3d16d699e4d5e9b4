"""The brake: ends the instance, and the group does not replace it. Enters: the run's name. Leaves: no instance.

Before it the box may be asked to save (`cli/saving.py`); the brake is pulled whatever becomes of that. A stopped run
keeps its stack, its bucket and its checkpoints. `signspot stop` itself is in `cli/halt.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from cli.fetch import Say
from cli.live import Client, batches, not_terminated, of_run
from cli.refusal import code_of, refused
from contract.errors import CloudError

LATER = ("ResourceContention", "ScalingActivityInProgress")
TOLD_EVERY_SECONDS = 30.0
AT_ONCE = 8
ORPHANS_SECONDS = 60.0
"""How long instances without a group are waited for: they may be ending by themselves."""

Save = Callable[[], None]
"""Asks the box to save, and waits for it."""


@dataclass(frozen=True)
class Patience:
    """How long AWS is waited for. The clock can be another one in tests."""

    poll_seconds: float = 5.0
    limit_seconds: float = 1800.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def wait(self, done: Callable[[], bool]) -> bool:
        """Whether it was done in time."""
        end = self.clock() + self.limit_seconds
        while not done():
            if self.clock() >= end:
                return False
            self.sleep(self.poll_seconds)
        return True


@dataclass
class Writers:
    """Who may write into the run's bucket, and what they drag along."""

    groups: set[str] = field(default_factory=set)
    instances: dict[str, str] = field(default_factory=dict)
    """Instance → its state; terminated ones are not in it."""
    parts: dict[str, set[str]] = field(default_factory=dict)
    """Kind of thing → ids of what came with the instances, by the names of `cli.leftovers`."""


def find_writers(client: Client, run: str, groups: Iterable[str] = (), instances: Iterable[str] = ()) -> Writers:
    """The run's groups and instances: those tagged, those named, and the instances in any of the groups."""
    autoscaling, found = client("autoscaling"), Writers()
    asked: list[dict[str, Any]] = [{"Filters": of_run(run)}]
    asked += [{"AutoScalingGroupNames": names} for names in batches(groups)]
    members = set(instances)
    for question in asked:
        for page in autoscaling.get_paginator("describe_auto_scaling_groups").paginate(**question):
            for group in page["AutoScalingGroups"]:
                found.groups.add(group["AutoScalingGroupName"])
                members |= {instance["InstanceId"] for instance in group["Instances"]}
    filters = of_run(run), [{"Name": "instance-id", "Values": sorted(members)}]
    for chosen in filters[: 2 if members else 1]:
        for instance in not_terminated(client("ec2"), chosen):
            found.instances[instance["InstanceId"]] = instance["State"]["Name"]
            _note_parts(instance, found.parts)
    return found


def _note_parts(instance: dict[str, Any], parts: dict[str, set[str]]) -> None:
    """What an instance drags along, known only as long as it lives."""
    volumes = {disk["Ebs"]["VolumeId"] for disk in instance.get("BlockDeviceMappings", []) if "Ebs" in disk}
    doors = {door["NetworkInterfaceId"] for door in instance.get("NetworkInterfaces", [])}
    requests = {instance["SpotInstanceRequestId"]} if instance.get("SpotInstanceRequestId") else set()
    for kind, ids in (("volumes", volumes), ("network interfaces", doors), ("spot requests", requests)):
        parts.setdefault(kind, set()).update(ids)
    parts.setdefault("instances", set()).add(instance["InstanceId"])


def stop_run(
    client: Client,
    run: str,
    groups: Iterable[str],
    say: Say,
    patience: Patience,
    save: Save | None = None,
) -> Writers:
    """Set the groups to 0 and wait until every instance is terminated; returns what was found at the beginning.

    `save` is called first. Whatever comes of it, Ctrl-C included, the groups go to 0.

    Raises:
        CloudError: AWS refuses, or an instance is still there when patience is at its end.
    """
    with refused(f"run {run!r} cannot be stopped"):
        before = find_writers(client, run, groups)
        try:
            if save and (before.groups or before.instances):
                save()
        finally:
            refusals = brake(client("autoscaling"), before.groups, say, patience)
        if refusals:
            raise refusals[0]
        if not before.groups:  # nobody ends them any more
            patience = replace(patience, limit_seconds=min(ORPHANS_SECONDS, patience.limit_seconds))
        _wait_until_gone(client, run, before, say, patience)
        return before


def end_run(client: Client, run: str, say: Say, patience: Patience, save: Save | None = None) -> Writers:
    """`stop_run` for who has only a name: a mistyped one must not look like a run that is stopped.

    Raises:
        CloudError: as `stop_run`, and when the run has neither a group nor an instance here.
    """
    before = stop_run(client, run, [], say, patience, save)
    if not before.groups and not before.instances:
        raise CloudError(
            f"run {run!r} has no group and no instance in {client('ec2').meta.region_name}: nothing was stopped",
            mend="check the run's name, the region (AWS_REGION) and the account (AWS_PROFILE)",
        )
    return before


def brake(autoscaling: Any, groups: Collection[str], say: Say, patience: Patience) -> list[CloudError]:
    """Every group to 0, side by side: none waits for another. Returns what AWS refused."""

    def one(group: str) -> CloudError | None:
        try:
            with refused(f"group {group} cannot be set to 0"):
                _empty(autoscaling, group, patience)
        except CloudError as error:
            return error
        say("stop", f"group {group} is at 0: nothing is started any more")
        return None

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="brake") as pool:
        return [refusal for refusal in pool.map(one, sorted(groups)) if refusal]


def _empty(autoscaling: Any, group: str, patience: Patience) -> None:
    """Set a group to 0; one that is gone is no error."""

    def update() -> bool:
        try:
            autoscaling.update_auto_scaling_group(AutoScalingGroupName=group, MinSize=0, MaxSize=0, DesiredCapacity=0)
        except autoscaling.exceptions.ClientError as error:
            if code_of(error) in LATER:
                return False
            if code_of(error) == "ValidationError" and "not found" in str(error).lower():
                return True  # deleted since it was listed
            raise
        return True

    if not patience.wait(update):
        raise CloudError(f"group {group} is busy and cannot be set to 0", mend="give the same command again")


def _wait_until_gone(client: Client, run: str, before: Writers, say: Say, patience: Patience) -> None:
    began, told, told_at = patience.clock(), "", 0.0
    left: dict[str, str] = {}

    def gone() -> bool:
        nonlocal told, told_at
        left.clear()
        left.update(find_writers(client, run, before.groups, before.instances).instances)
        shown = ", ".join(f"{instance} ({state})" for instance, state in sorted(left.items()))
        now = patience.clock()
        if left and (shown != told or now - told_at >= TOLD_EVERY_SECONDS):
            told, told_at = shown, now
            say("stop", f"waiting for {shown} to save and to end, {now - began:.0f} s so far")
        return not left

    if not patience.wait(gone):
        ids = " ".join(sorted(left))
        region = client("ec2").meta.region_name
        raise CloudError(
            f"still there after {patience.limit_seconds:.0f} s: {told}; it costs money",
            why="nothing replaces it, but AWS has not ended it either",
            mend=f"aws --region {region} ec2 terminate-instances --instance-ids {ids}",
        )
    say("stop", f"no instance lives ({', '.join(sorted(before.instances)) or 'none did'})")
