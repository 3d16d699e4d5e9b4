"""Scheduled actions as EC2 Auto Scaling has them, where moto only stores them.

Enters: moto's backend and a clock. Leaves: actions that take place at their time, recur, and are refused in the past.
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutScheduledUpdateGroupAction.html
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeScheduledAction, autoscaling_backends

Clock = Callable[[], datetime]
put = AutoScalingBackend.put_scheduled_update_group_action


def refusing_the_past(clock: Clock) -> Callable[..., FakeScheduledAction]:
    """For PutScheduledUpdateGroupAction: "If you try to schedule your action in the past", it is an error."""

    def put_scheduled_update_group_action(self: AutoScalingBackend, name: str, **given: Any) -> FakeScheduledAction:
        if given.get("start_time") and _moment(given["start_time"]) < clock():
            raise ValidationError(f"Given start time is in the past: {given['start_time']}")
        return put(self, name=name, **given)

    return put_scheduled_update_group_action


def run_due_actions(groups: AutoScalingBackend, now: datetime) -> None:
    """Apply the actions whose time has come; like AWS, forget one that does not recur."""
    for name, action in list(groups.scheduled_actions.items()):
        group = groups.autoscaling_groups.get(action.auto_scaling_group_name)
        if group is None or action.start_time is None or _moment(action.start_time) > now:
            continue
        if action.recurrence:
            action.start_time = next(CronSim(action.recurrence, now)).isoformat()
        else:
            del groups.scheduled_actions[name]
        if action.min_size is not None:
            group.min_size = action.min_size
        if action.max_size is not None:
            group.max_size = action.max_size
        wanted = action.desired_capacity if action.desired_capacity is not None else group.desired_capacity
        group.set_desired_capacity(min(max(wanted or 0, group.min_size or 0), group.max_size or 0))


def update_from_template(
    cls: type[FakeScheduledAction], /, original_resource: FakeScheduledAction, new_resource_name: str, **given: Any
) -> FakeScheduledAction:
    name = original_resource.scheduled_action_name
    return cls.create_from_cloudformation_json(new_resource_name, **given, LogicalId=name)


def delete_from_template(self: FakeScheduledAction, account: str, region: str) -> None:
    autoscaling_backends[account][region].scheduled_actions.pop(self.scheduled_action_name, None)


def _moment(given: Any) -> datetime:
    moment = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
