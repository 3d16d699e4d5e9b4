"""The killer outside the box: at `StopAt` the group goes to 0, whatever the box is doing."""

from __future__ import annotations

from datetime import datetime

from aws_cdk import CfnParameter
from aws_cdk import aws_autoscaling as autoscaling
from constructs import Construct

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Deadline(Construct):
    """A parameter, because the CDK CLI keeps its value on later deploys: only `--parameters StopAt=...` moves it."""

    def __init__(self, scope: Construct, id: str, *, at: datetime) -> None:
        super().__init__(scope, id)
        parameter = CfnParameter(
            self,
            "StopAt",
            default=at.strftime(FORMAT),
            allowed_pattern=r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
            description="UTC time at which the group goes to 0; a redeploy does not move it",
        )
        parameter.override_logical_id("StopAt")
        self.time = parameter.value_as_string

    def ends(self, group: autoscaling.AutoScalingGroup) -> None:
        autoscaling.CfnScheduledAction(
            self,
            "Stop",
            auto_scaling_group_name=group.auto_scaling_group_name,
            start_time=self.time,
            min_size=0,
            max_size=0,
            desired_capacity=0,
        )
