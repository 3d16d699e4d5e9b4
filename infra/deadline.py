"""The ceiling of the run, kept by the stack, and the killer outside the boxes.

Enters: a `Ceiling`. Leaves: three parameters, for a cluster six. The CDK CLI keeps the values of parameters on later
deploys, so no redeploy moves any of them; `signspot extend`, `--parameters` and `--no-previous-parameters` do.
"""

from __future__ import annotations

from aws_cdk import CfnCondition, CfnOutput, CfnParameter, Fn, Token
from aws_cdk import aws_autoscaling as autoscaling
from constructs import Construct

from contract.ceiling import Ceiling

AGAIN = "*/5 * * * *"
"""After `StopAt` the group is set to 0 every five minutes: a killer that misses once comes back, and unlike a
one-time action it is still there when the run is extended after its end."""

MONEY = r"\d+(\.\d+)?"
PARAMETERS = {
    "StopAt": (
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        "UTC time at which the group goes to 0. Kept by later deploys; moved by `signspot extend`.",
    ),
    "MaxPricePerHour": (MONEY, "Highest spot price accepted, in dollars an hour. Kept by later deploys."),
    "CeilingUsd": (
        MONEY,
        "Dollars of instance time that the run can cost at most: follows from the other two. Kept by later deploys; "
        "moved by `signspot extend`.",
    ),
    "Boxes": (r"\d+", "Spot instances at the same time. Kept by later deploys."),
    "HeadType": (r"[a-z0-9-]+\.[a-z0-9-]+", "On-demand type of the head. Kept by later deploys, as its price is."),
    "HeadPricePerHour": (MONEY, "Its price, of which the ceiling is made. Kept by later deploys."),
}


class Deadline(Construct):
    def __init__(self, scope: Construct, id: str, *, ceiling: Ceiling) -> None:
        super().__init__(scope, id)
        self.kept = {name: self._parameter(name, value) for name, value in ceiling.parameters.items()}
        self.time = self.kept["StopAt"]
        self.max_price = self.kept["MaxPricePerHour"]
        self._tell_when_kept(ceiling)

    @property
    def boxes(self) -> float:
        """As a token."""
        return Token.as_number(self.kept["Boxes"])

    @property
    def head_type(self) -> str:
        return self.kept["HeadType"]

    def _parameter(self, name: str, default: str) -> str:
        pattern, description = PARAMETERS[name]
        parameter = CfnParameter(self, name, default=default, allowed_pattern=pattern, description=description)
        parameter.override_logical_id(name)
        return parameter.value_as_string

    def _tell_when_kept(self, ceiling: Ceiling) -> None:
        """An output that is there only when the limits of this deploy's settings are not those of the run."""
        wanted = {name: value for name, value in ceiling.parameters.items() if name != "StopAt"}
        same = [Fn.condition_equals(self.kept[name], value) for name, value in wanted.items()]
        differs = CfnCondition(self, "LimitsDiffer", expression=Fn.condition_not(Fn.condition_and(*same)))
        differs.override_logical_id("LimitsDiffer")
        note = CfnOutput(
            self,
            "Kept",
            condition=differs,
            value=(
                "This run keeps its limits. The settings of this deploy, not applied: "
                + ", ".join(f"{name}={value}" for name, value in wanted.items())
                + ". For more time: signspot extend. By hand, all of them together: cdk deploy "
                + " ".join(f"--parameters {name}=..." for name in self.kept)
            ),
        )
        note.override_logical_id("Kept")

    def ends(self, group: autoscaling.AutoScalingGroup, id: str = "Stop") -> None:
        autoscaling.CfnScheduledAction(
            self,
            id,
            auto_scaling_group_name=group.auto_scaling_group_name,
            start_time=self.time,
            recurrence=AGAIN,
            min_size=0,
            max_size=0,
            desired_capacity=0,
        )
