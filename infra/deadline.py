"""The ceiling of the run, kept by the stack, and the killer outside the box.

Enters: a `Ceiling`. Leaves: three parameters. The CDK CLI keeps the values of parameters on later deploys, so
no redeploy moves any of them; `signspot extend`, `--parameters` and `--no-previous-parameters` do.
"""

from __future__ import annotations

from aws_cdk import CfnCondition, CfnOutput, CfnParameter, Fn
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
}


class Deadline(Construct):
    def __init__(self, scope: Construct, id: str, *, ceiling: Ceiling) -> None:
        super().__init__(scope, id)
        self._kept = {name: self._parameter(name, value) for name, value in ceiling.parameters.items()}
        self.time = self._kept["StopAt"]
        self.max_price = self._kept["MaxPricePerHour"]
        self.ceiling_usd = self._kept["CeilingUsd"]
        self._tell_when_kept(ceiling)

    def _parameter(self, name: str, default: str) -> str:
        pattern, description = PARAMETERS[name]
        parameter = CfnParameter(self, name, default=default, allowed_pattern=pattern, description=description)
        parameter.override_logical_id(name)
        return parameter.value_as_string

    def _tell_when_kept(self, ceiling: Ceiling) -> None:
        """An output that is there only when the limits of this deploy's settings are not those of the run."""
        wanted = {name: ceiling.parameters[name] for name in ("MaxPricePerHour", "CeilingUsd")}
        same = [Fn.condition_equals(self._kept[name], value) for name, value in wanted.items()]
        differs = CfnCondition(self, "LimitsDiffer", expression=Fn.condition_not(Fn.condition_and(*same)))
        differs.override_logical_id("LimitsDiffer")
        note = CfnOutput(
            self,
            "Kept",
            condition=differs,
            value=(
                "This run keeps its limits. The settings of this deploy, not applied: "
                + ", ".join(f"{name}={value}" for name, value in wanted.items())
                + ". For more time: signspot extend. By hand, all three together: cdk deploy "
                + " ".join(f"--parameters {name}=..." for name in PARAMETERS)
            ),
        )
        note.override_logical_id("Kept")

    def ends(self, group: autoscaling.AutoScalingGroup) -> None:
        autoscaling.CfnScheduledAction(
            self,
            "Stop",
            auto_scaling_group_name=group.auto_scaling_group_name,
            start_time=self.time,
            recurrence=AGAIN,
            min_size=0,
            max_size=0,
            desired_capacity=0,
        )
