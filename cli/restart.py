"""`signspot restart`: a run that was stopped goes on. Enters: its name. Leaves: groups that may have boxes again.

Only a run that is not over, of which nothing lives, that has time left, and whose killer outside the box still stands.
The request to stop is taken back first: if what follows fails, nothing runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from cli.extend import RunNow, look_up
from cli.fetch import Source
from cli.live import Client, living
from cli.refusal import refused
from cli.saving import put_request
from cli.status import read_status
from contract.ceiling import CENT
from contract.config import MINIMUM_MINUTES
from contract.errors import CloudError
from contract.layout import RunLayout
from contract.status import Phase, Status, StopRequest

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

CLOSE = timedelta(minutes=1)
"""How much later than `StopAt` the killer may begin."""
NEXT = {
    Phase.DONE: "signspot fetch {run} brings its model, signspot destroy {run} ends it",
    Phase.FAILED: "signspot logs {run} says why; signspot destroy {run}, then deploy again",
    Phase.EXPIRED: "signspot fetch {run} brings its newest checkpoint; signspot destroy {run}, then deploy with more "
    "hours. To go on before the time is over: signspot extend",
}
"""What to do with a run that is over."""


class Restarted(BaseModel):
    """A run that goes on, or that would."""

    run: str
    already: bool
    """It was running."""
    step: int
    """Of the newest verified checkpoint: from it the next box goes on."""
    stop_at: datetime
    usd_left: Decimal
    """What it may still cost at most, from now on."""
    usd_at_most: Decimal
    """What all of it may cost at most, from its first deploy on."""


@dataclass(frozen=True)
class Plan:
    run: RunNow
    request: StopRequest | None
    resting: tuple[str, ...]
    """Groups at 0."""
    outcome: Restarted


def plan_restart(client: Client, run: str) -> Plan:
    """What would happen; nothing is changed.

    Raises:
        CloudError: the run is over, is being stopped, has an instance that lives, no time left, or no killer; each
            with the next step.
        StorageError: S3 does not say how the run stands.
    """
    found = look_up(client("cloudformation"), run)
    status = read_status(client("s3"), found.bucket, run)
    _not_over(status)
    request = _read_request(client("s3"), found)
    desired = _desired(client("autoscaling"), found)
    resting = tuple(group for group, wanted in desired.items() if not wanted)
    if any(desired.values()) and request:
        raise CloudError(
            f"run {run!r} was asked to stop and its group is not at 0 yet",
            mend=f"signspot stop {run}, then signspot restart {run}",
        )
    _time_left(found)
    if next(iter(found.groups)) in resting:
        _nothing_lives(client("ec2"), run)
    for group in resting:
        _killer_stands(client("autoscaling"), found, group)
    left = (found.ceiling.stop_at - found.now) / timedelta(hours=1)
    usd = (Decimal(str(left)) * found.ceiling.rate).quantize(CENT, ROUND_CEILING)
    outcome = Restarted(
        run=run,
        already=not resting,
        step=status.checkpoint_step,
        stop_at=found.ceiling.stop_at,
        usd_left=min(usd, found.ceiling.usd),
        usd_at_most=found.ceiling.usd,
    )
    return Plan(found, request, resting, outcome)


def restart(client: Client, plan: Plan) -> None:
    """Raises StorageError or CloudError: then every group that could not be started is at 0 as before."""
    run = plan.run
    if plan.request:
        lifted = plan.request.model_copy(update={"lifted_at": datetime.now(UTC)})
        put_request(client("s3"), run.bucket, run.name, lifted)
    for group in plan.resting:
        size = run.groups[group]
        with refused(f"group {group} cannot be started"):
            client("autoscaling").update_auto_scaling_group(
                AutoScalingGroupName=group, MinSize=0, MaxSize=size, DesiredCapacity=size
            )


def _not_over(status: Status) -> None:
    if status.phase.final:
        reason = f": {status.reason}" if status.reason else ""
        raise CloudError(
            f"run {status.run!r} is {status.phase} and cannot go on{reason}",
            mend=NEXT[status.phase].format(run=status.run),
        )


def _read_request(s3: S3Client, run: RunNow) -> StopRequest | None:
    """The request to stop, while it stands."""
    source = Source(s3, run.bucket, RunLayout(run.name))
    request = source.read(source.layout.stop, StopRequest)
    return request if request and request.stands else None


def _desired(autoscaling: Any, run: RunNow) -> dict[str, int]:
    """What each of its groups wants."""
    with refused(f"the groups of run {run.name!r} cannot be looked up"):
        groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=list(run.groups))["AutoScalingGroups"]
    if len(groups) < len(run.groups):
        raise CloudError(
            f"run {run.name!r} has no group any more: there is nothing to start",
            mend=f"signspot fetch {run.name}, signspot destroy {run.name}, then deploy again",
        )
    return {group["AutoScalingGroupName"]: group["DesiredCapacity"] for group in groups}


def _time_left(run: RunNow) -> None:
    if run.ceiling.stop_at - run.now < timedelta(minutes=MINIMUM_MINUTES):
        passed = run.ceiling.stop_at <= run.now
        raise CloudError(
            f"run {run.name!r} {'had' if passed else 'has'} time until {run.ceiling.stop_at:%Y-%m-%d %H:%M} UTC",
            why="that has passed" if passed else f"in less than {MINIMUM_MINUTES} minutes no box gets to train",
            mend=f"signspot extend {run.name} --hours 2, then signspot restart {run.name}",
        )


def _nothing_lives(ec2: Any, run: str) -> None:
    """With one that has not ended yet there would be two boxes, and the old one may not have saved."""
    with refused(f"AWS does not say what lives of run {run!r}"):
        found = living(ec2, run)
    if found:
        named = ", ".join(f"{one.id} ({one.state})" for one in found)
        raise CloudError(
            f"run {run!r} has an instance that has not ended yet: {named}; no second one is started beside it",
            mend=f"signspot stop {run} waits for its end; then signspot restart {run}",
        )


def _killer_stands(autoscaling: Any, run: RunNow, group: str) -> None:
    """The scheduled action that ends the group from outside: without it no box is started."""
    with refused(f"the scheduled actions of {group} cannot be looked up"):
        pages = autoscaling.get_paginator("describe_scheduled_actions").paginate(AutoScalingGroupName=group)
        actions = [action for page in pages for action in page["ScheduledUpdateGroupActions"]]
    latest = run.ceiling.stop_at + CLOSE
    if any(
        action.get("MaxSize") == 0 and action.get("Recurrence") and action["StartTime"].astimezone(UTC) <= latest
        for action in actions
    ):
        return
    raise CloudError(
        f"nothing outside the box would end run {run.name!r}: its scheduled action is gone, so no box is started",
        mend="aws autoscaling put-scheduled-update-group-action --scheduled-action-name signspot-stop "
        f"--auto-scaling-group-name {group} --start-time {run.ceiling.parameters['StopAt']} "
        "--recurrence '*/5 * * * *' --min-size 0 --max-size 0 --desired-capacity 0, then the same command",
    )
