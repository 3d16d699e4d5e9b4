"""`signspot extend`: more time for a run, by the settings it was deployed with. Enters: its name and hours.

Leaves: a stack whose scheduled action is later and whose ceiling is higher, and `deadline.json`, by which the box
that is up learns of it. Needs no dataset and no synthesis: only parameters of the stack change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, WaiterError
from pydantic import BaseModel

from cli.live import groups_of
from cli.refusal import refused
from contract.ceiling import Ceiling, kept_by
from contract.errors import CloudError, StorageError
from contract.layout import RunLayout
from contract.status import Deadline

if TYPE_CHECKING:
    from mypy_boto3_autoscaling.client import AutoScalingClient
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef
    from mypy_boto3_s3.client import S3Client

STILL = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}
"""The states in which CloudFormation accepts an update."""
POLL_SECONDS = 5


@dataclass(frozen=True)
class RunNow:
    """What a run has, by its stack and AWS's clock."""

    name: str
    stack: str
    ceiling: Ceiling
    now: datetime
    parameters: tuple[str, ...]
    bucket: str
    groups: Mapping[str, int]
    """Its Auto Scaling groups, and what each may have at most."""


class Extended(BaseModel):
    """A run's end and ceiling, as its stack and its box have them now."""

    run: str
    stop_at: datetime
    usd_at_most: Decimal
    """What all of it may cost at most, from its first deploy on."""
    stop_at_before: datetime
    usd_at_most_before: Decimal
    runs: bool
    """Whether its group wants a box; an extension starts none."""


def look_up(cloudformation: CloudFormationClient, run: str) -> RunNow:
    """Raises CloudError: no such stack, one that is being changed, or AWS refuses."""
    stack = f"signspot-{run}"
    try:
        with refused(f"the stack {stack} cannot be looked up"):
            answer = cloudformation.describe_stacks(StackName=stack)
    except CloudError as error:
        if "does not exist" not in error.why:
            raise
        raise CloudError(
            f"there is no run {run!r}: the stack {stack} does not exist",
            mend="check the run's name, the region (AWS_REGION) and the account (AWS_PROFILE)",
        ) from error
    description = answer["Stacks"][0]
    if description["StackStatus"] not in STILL:
        raise CloudError(
            f"the stack {stack} is {description['StackStatus']} and cannot be changed now",
            why=description.get("StackStatusReason", ""),
            mend="wait until its change is over, then give the same command again"
            if description["StackStatus"].endswith("IN_PROGRESS")
            else "see its events in CloudFormation; `cdk destroy` removes it",
        )
    ceiling, now = kept_by(dict(answer))
    outputs = {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}
    sizes = dict(zip(groups_of(outputs), (1, ceiling.boxes), strict=False))
    names = tuple(parameter["ParameterKey"] for parameter in description["Parameters"])
    return RunNow(run, stack, ceiling, now, names, outputs["Bucket"], sizes)


def is_at_zero(autoscaling: AutoScalingClient, names: Collection[str]) -> bool:
    with refused(f"whether {' and '.join(names)} want a box cannot be looked up"):
        groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=list(names))["AutoScalingGroups"]
    return not any(group["DesiredCapacity"] for group in groups)


def move(cloudformation: CloudFormationClient, run: RunNow, ceiling: Ceiling) -> None:
    """Gives the stack a new ceiling and waits until it has it. Asked twice by one look at the run, done once.

    Raises:
        CloudError: AWS refuses, or the stack rolled back.
    """
    new = ceiling.parameters
    parameters: list[ParameterTypeDef] = [
        {"ParameterKey": name, "ParameterValue": new[name]}
        if name in ("StopAt", "CeilingUsd")
        else {"ParameterKey": name, "UsePreviousValue": True}
        for name in run.parameters
    ]
    token = "-".join(["extend", *run.ceiling.parameters.values(), *new.values()])
    with refused(f"the stack {run.stack} cannot be extended"):
        try:
            cloudformation.update_stack(
                StackName=run.stack,
                UsePreviousTemplate=True,
                Parameters=parameters,
                Capabilities=["CAPABILITY_NAMED_IAM"],
                ClientRequestToken="".join(c if c.isalnum() else "-" for c in token),
            )
            waiter = cloudformation.get_waiter("stack_update_complete")
            waiter.wait(StackName=run.stack, WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": 180})
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
        except WaiterError as error:
            raise CloudError(
                f"the stack {run.stack} did not take the new ceiling; what it had holds",
                why=str(error),
                mend="see the stack's events in CloudFormation",
            ) from error


def tell_box(s3: S3Client, run: RunNow, stop_at: datetime) -> None:
    """Raises StorageError: the box does not know, and ends when it was to end before."""
    with refused(f"the box was not told; mend: signspot extend {run.name} --hours 0", StorageError):
        s3.put_object(
            Bucket=run.bucket,
            Key=RunLayout(run.name).deadline,
            Body=Deadline(stop_at=stop_at).model_dump_json().encode(),
        )
