"""An emulated account with runs of which each has one box: words in S3, for tests of the command line."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from cli.halt import Report, stop_all, stop_one
from contract.layout import RunLayout
from contract.status import Phase, Progress, Status, StopRequest
from rehearsal.aws import EmulatedAws
from tests.cli.clock import Clock
from tests.cli.runs import NOW, deploy, recording


class Account:
    """An emulated account, and boxes that are words in S3."""

    def __init__(self, aws: EmulatedAws) -> None:
        self.aws = aws
        self.clock = Clock()
        self.calls: list[str] = []
        self.told: list[str] = []
        self.buckets: dict[str, str] = {}
        self.after_the_brake: list[Callable[[], object]] = []
        """What happens when a group has been set to 0 and AWS was not asked again yet; once."""
        self.client = recording(aws, self.calls, {})

    def deploy(self, run: str = "demo") -> str:
        """Returns the id of its instance."""
        self.buckets[run] = deploy(self.aws, run)["AWS::S3::Bucket"]
        (box,) = self.living(run)
        self.box_says(Phase.TRAINING, run=run, instance=box, made=44, saved=40)
        return box

    def box_says(
        self, phase: Phase, *, instance: str, made: int, saved: int, run: str = "demo", trouble: str = ""
    ) -> None:
        status = Status(
            run=run,
            phase=phase,
            instance=instance,
            heartbeat=NOW,
            progress=Progress(step=made, steps=100),
            checkpoint_step=saved,
            trouble=trouble,
        )
        key = RunLayout(run).status
        self.aws.client("s3").put_object(Bucket=self.buckets[run], Key=key, Body=status.model_dump_json())

    def request(self, run: str = "demo") -> StopRequest | None:
        s3 = self.aws.client("s3")
        try:
            body = s3.get_object(Bucket=self.buckets[run], Key=RunLayout(run).stop)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None
        return StopRequest.model_validate_json(body)

    def living(self, run: str) -> list[str]:
        filters: list[Any] = [
            {"Name": "tag:signspot:run", "Values": [run]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        answer = self.aws.client("ec2").describe_instances(Filters=filters)
        return [one["InstanceId"] for part in answer["Reservations"] for one in part["Instances"]]

    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """By run, or by name where there is none: minimum, maximum, wanted."""
        found = {}
        for group in self.aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]:
            run = next((tag["Value"] for tag in group["Tags"] if tag["Key"] == "signspot:run"), "")
            size = group["MinSize"], group["MaxSize"], group["DesiredCapacity"]
            found[run or group["AutoScalingGroupName"]] = size
        return found

    def scale_up(self, run: str = "demo") -> None:
        """As somebody else's restart, or another deploy, does."""
        filters: Any = [{"Name": "tag:signspot:run", "Values": [run]}]
        autoscaling = self.aws.client("autoscaling")
        (group,) = autoscaling.describe_auto_scaling_groups(Filters=filters)["AutoScalingGroups"]
        autoscaling.update_auto_scaling_group(
            AutoScalingGroupName=group["AutoScalingGroupName"], MaxSize=1, DesiredCapacity=1
        )

    def stop(self, run: str = "demo", *, now: bool = False) -> Report:
        return stop_one(self.client, self.client, run, self.say, self.clock.patience(), now=now)

    def stop_all(self, *, now: bool = False) -> Report:
        return stop_all(self.client, self.client, self.say, self.clock.patience(), now=now)

    def say(self, _: str, what: str) -> None:
        self.told.append(what)
        if self.after_the_brake and what.endswith("is at 0: nothing is started any more"):
            self.after_the_brake.pop()()

    def clear(self) -> None:
        """Nothing of this test is left for the next one."""
        self.aws.fault = None
        cloudformation, autoscaling = self.aws.client("cloudformation"), self.aws.client("autoscaling")
        for stack in cloudformation.describe_stacks()["Stacks"]:
            cloudformation.delete_stack(StackName=stack["StackId"])
        for group in autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]:
            autoscaling.delete_auto_scaling_group(AutoScalingGroupName=group["AutoScalingGroupName"], ForceDelete=True)
        alive: Any = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        answer = self.aws.client("ec2").describe_instances(Filters=alive)
        for one in (one for part in answer["Reservations"] for one in part["Instances"]):
            self.aws.client("ec2").terminate_instances(InstanceIds=[one["InstanceId"]])

    def is_braked(self, run: str = "demo") -> bool:
        return self.sizes()[run] == (0, 0, 0) and not self.living(run)


def foreign(account: Account) -> None:
    """Somebody else's group and instance."""
    autoscaling, ec2 = account.aws.client("autoscaling"), account.aws.client("ec2")
    data: Any = {"ImageId": account.aws.ami, "InstanceType": "t3.micro"}
    name = f"theirs-{uuid.uuid4()}"
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="signspot-theirs",
        MinSize=1,
        MaxSize=2,
        DesiredCapacity=1,
        AvailabilityZones=["us-east-1a"],
        LaunchTemplate={"LaunchTemplateId": made["LaunchTemplateId"], "Version": "1"},
    )
