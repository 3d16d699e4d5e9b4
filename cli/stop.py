"""The brake: ends the instance, and the group does not replace it. Enters: the run's name. Leaves: no instance.

Before it the box may be asked to save (`cli/saving.py`); the brake is pulled whatever becomes of that. A stopped run
keeps its stack, its bucket and its checkpoints. `signspot stop` itself is in `cli/halt.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
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

    groups: dict[str, int] = field(default_factory=dict)
    """Group → how many instances it wants."""
    instances: dict[str, str] = field(default_factory=dict)
    """Instance → its state; terminated ones are not in it."""
    parts: dict[str, set[str]] = field(default_factory=dict)
    """Kind of thing → ids of what came with the instances, by the names of `cli.leftovers`."""

    @property
    def lives(self) -> bool:
        """Whether something costs money, or will."""
        return bool(self.instances) or any(self.groups.values())

    def add(self, other: Writers) -> None:
        self.groups |= other.groups
        self.instances |= other.instances
        for kind, ids in other.parts.items():
            self.parts.setdefault(kind, set()).update(ids)


def find_writers(client: Client, run: str, groups: Iterable[str] = (), instances: Iterable[str] = ()) -> Writers:
    """The run's groups and instances: those tagged, those named, and the instances in any of the groups."""
    autoscaling, found = client("autoscaling"), Writers()
    asked: list[dict[str, Any]] = [{"Filters": of_run(run)}]
    asked += [{"AutoScalingGroupNames": names} for names in batches(groups)]
    members = set(instances)
    for question in asked:
        for page in autoscaling.get_paginator("describe_auto_scaling_groups").paginate(**question):
            for group in page["AutoScalingGroups"]:
                found.groups[group["AutoScalingGroupName"]] = group["DesiredCapacity"]
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
    """Set the groups to 0 and wait until every instance is terminated; returns whatever was found.

    `save` is called first. Whatever comes of it, Ctrl-C included, the groups go to 0.

    Raises:
        CloudError: AWS refuses, or an instance is still there when patience is at its end.
    """
    client = cache(client)
    with refused(f"run {run!r} cannot be stopped"):
        writers = find_writers(client, run, groups)
        try:
            if save and (writers.groups or writers.instances):
                save()
        finally:
            refusals = brake(client("autoscaling"), writers.groups, say, patience)
        if refusals:
            raise refusals[0]
        if not writers.groups:  # nobody ends them any more
            patience = replace(patience, limit_seconds=min(ORPHANS_SECONDS, patience.limit_seconds))
        _wait_until_gone(client, run, writers, say, patience)
        return writers


def end_run(client: Client, run: str, say: Say, patience: Patience, save: Save | None = None) -> Writers:
    """`stop_run` for who has only a name: a mistyped one must not look like a run that is stopped.

    Raises:
        CloudError: as `stop_run`, and when the run has neither a group nor an instance here.
    """
    writers = stop_run(client, run, [], say, patience, save)
    if not writers.groups and not writers.instances:
        raise CloudError(
            f"run {run!r} has no group and no instance in {client('ec2').meta.region_name}: nothing was stopped",
            mend="check the run's name, the region (AWS_REGION) and the account (AWS_PROFILE)",
        )
    return writers


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


def brake_again(autoscaling: Any, groups: Mapping[str, int], say: Say, patience: Patience) -> list[CloudError]:
    """`brake` for what another deploy, or somebody, has set up meanwhile. Enters: group → how many it wants.

    A busy group is not waited for: whoever looks again brakes again.
    """
    return brake(autoscaling, [name for name, size in groups.items() if size], say, replace(patience, limit_seconds=0))


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


def lives_on(
    groups: Mapping[str, int], instances: Iterable[str], refusals: Iterable[CloudError], region: str, seconds: float
) -> CloudError:
    """What is still there after that long, and the commands that end it. Enters: group → how many it wants."""
    up, ids = sorted(name for name, size in groups.items() if size), sorted(instances)
    sizes = "--min-size 0 --max-size 0 --desired-capacity 0"
    commands = [
        f"aws --region {region} autoscaling update-auto-scaling-group --auto-scaling-group-name {group} {sizes}"
        for group in up
    ]
    if ids:
        commands.append(f"aws --region {region} ec2 terminate-instances --instance-ids {' '.join(ids)}")
    return CloudError(
        f"still there after {seconds:.0f} s: {', '.join((*up, *ids))}; it costs money",
        why="; ".join(f"{error.what}: {error.why}" for error in refusals) or "AWS has not ended it yet",
        mend="\n".join(commands),
    )


def _wait_until_gone(client: Client, run: str, writers: Writers, say: Say, patience: Patience) -> None:
    """What appears meanwhile is braked, too, and added to `writers`."""
    began, told, told_at = patience.clock(), "", 0.0
    left = Writers()
    refusals: list[CloudError] = []

    def gone() -> bool:
        nonlocal left, refusals, told, told_at
        left = find_writers(client, run, writers.groups, writers.instances)
        refusals = brake_again(client("autoscaling"), left.groups, say, patience)
        writers.add(left)
        shown = ", ".join(f"{instance} ({state})" for instance, state in sorted(left.instances.items()))
        now = patience.clock()
        if shown and (shown != told or now - told_at >= TOLD_EVERY_SECONDS):
            told, told_at = shown, now
            say("stop", f"waiting for {shown} to save and to end, {now - began:.0f} s so far")
        return not left.lives

    if not patience.wait(gone):
        region = client("ec2").meta.region_name
        raise lives_on(left.groups, left.instances, refusals, region, patience.limit_seconds)
    say("stop", f"no instance lives ({', '.join(sorted(writers.instances)) or 'none did'})")
