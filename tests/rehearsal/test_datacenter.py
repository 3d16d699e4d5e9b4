"""Boxes follow instances: booted, replaced, interrupted and ended as EC2 and the group say."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rehearsal.aws import EmulatedAws
from rehearsal.datacenter import Box, Datacenter
from rehearsal.workdir import Workdir

GROUP = "the-group"
OWN_GROUP = f"arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{GROUP}"
END = {"Effect": "Allow", "Action": "autoscaling:TerminateInstanceInAutoScalingGroup", "Resource": OWN_GROUP}
HARMLESS = {"Effect": "Allow", "Action": "ec2:DescribeTags", "Resource": "*"}
TRUST = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
LEAVE = """
export AWS_DEFAULT_REGION=us-east-1
aws autoscaling terminate-instance-in-auto-scaling-group --should-decrement-desired-capacity \
  --instance-id "$(cat "${SIGNSPOT_ROOT:-}/var/lib/cloud/data/instance-id")" || echo refused
"""


@dataclass
class World:
    aws: EmulatedAws
    centre: Datacenter

    def launch(self, script: str, *statements: dict[str, Any]) -> None:
        iam, ec2 = self.aws.client("iam"), self.aws.client("ec2")
        policy = {"Version": "2012-10-17", "Statement": [*statements, HARMLESS]}
        iam.create_role(
            RoleName="box", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        )
        iam.put_role_policy(RoleName="box", PolicyName="box", PolicyDocument=json.dumps(policy))
        iam.create_instance_profile(InstanceProfileName="profile")
        iam.add_role_to_instance_profile(InstanceProfileName="profile", RoleName="box")
        template = ec2.create_launch_template(
            LaunchTemplateName="template",
            LaunchTemplateData={
                "ImageId": self.aws.ami,
                "InstanceType": "t3.micro",
                "IamInstanceProfile": {"Name": "profile"},
                "UserData": base64.b64encode(f"#!/bin/bash\n{script}\n".encode()).decode(),
            },
        )["LaunchTemplate"]
        self.aws.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            MinSize=0,
            MaxSize=1,
            DesiredCapacity=1,
            AvailabilityZones=["us-east-1a"],
            MixedInstancesPolicy={
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"},
                    "Overrides": [{"InstanceType": "g4dn.xlarge"}],
                },
                "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 0},
            },
        )

    def box(self, number: int = 0) -> Box:
        assert self.centre.wait(lambda: len(self.centre.boxes) > number, 20)
        return self.centre.boxes[number]

    def says(self, box: Box, text: str, seconds: float = 30) -> bool:
        return self.centre.wait(lambda: text in box.sandbox.console.read_text(errors="replace"), seconds)

    def ends(self, box: Box, seconds: float = 20) -> bool:
        return self.centre.wait(lambda: not box.alive, seconds)

    def settled_empty(self) -> bool:
        """Nothing runs and nothing is started again."""
        count = len(self.centre.boxes)
        return not self.centre.wait(lambda: bool(self.centre.alive()) or len(self.centre.boxes) > count, 0.5)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with EmulatedAws(poll=0.05) as aws, Workdir(tmp_path) as work, Datacenter(aws, work, poll=0.05) as centre:
        yield World(aws, centre)


def test_an_instance_boots_its_user_data(world: World) -> None:
    world.launch("echo up; sleep 600")
    box = world.box()
    assert world.says(box, "up")
    assert (box.instance_type, box.zone) == ("g4dn.xlarge", "us-east-1a")
    assert box.sandbox.root.instance_id.read_text().strip() == box.instance_id


def test_a_killed_box_is_replaced(world: World) -> None:
    world.launch("echo up; sleep 600")
    first = world.box()
    world.centre.kill(first.instance_id)
    assert not first.alive
    assert world.says(world.box(1), "up")
    assert first.cause == "killed"
    assert [event.kind for event in world.centre.events] == ["booted", "ended", "booted"]


def test_a_box_that_powers_off_is_replaced(world: World) -> None:
    world.launch("shutdown -h now; sleep 600")
    first = world.box()
    assert world.ends(first)
    assert first.cause == "powered off"
    assert world.box(1).instance_id != first.instance_id


def test_a_box_that_left_its_group_is_not_replaced(world: World) -> None:
    world.launch(LEAVE + "shutdown -h now; sleep 600", END)
    box = world.box()
    assert world.ends(box, 30), box.sandbox.console.read_text()
    assert world.settled_empty()
    assert world.aws.denied == []


def test_without_the_permission_leaving_is_refused_by_name(world: World) -> None:
    world.launch(LEAVE + "sleep 600", END | {"Resource": OWN_GROUP.replace(GROUP, "another-group")})
    box = world.box()
    assert world.says(box, "refused")
    assert (
        "not authorized to perform: autoscaling:TerminateInstanceInAutoScalingGroup" in box.sandbox.console.read_text()
    )
    assert world.aws.denied[0].action == "autoscaling:TerminateInstanceInAutoScalingGroup"
    assert box.alive


NOTICED = """
exec python3 - <<'EOF'
import os, time, urllib.error, urllib.request
base = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
def ask(path, method="GET", **headers):
    headers = {"X-aws-ec2-metadata-token" + name: value for name, value in headers.items()}
    request = urllib.request.Request(base + "/latest/" + path, method=method, headers=headers)
    return urllib.request.urlopen(request).read().decode()
token = ask("api/token", "PUT", **{"-ttl-seconds": "60"})
print("polling", flush=True)
while True:
    try:
        print("notice", ask("meta-data/spot/instance-action", **{"": token}), flush=True)
        time.sleep(600)
    except urllib.error.HTTPError as error:
        assert error.code == 404
        time.sleep(0.05)
EOF
"""


def test_a_notice_is_seen_inside_and_carried_out(world: World) -> None:
    world.launch(NOTICED)
    box = world.box()
    assert world.says(box, "polling")
    world.centre.notice(box.instance_id, 2)
    assert world.says(box, '"action": "terminate"')
    assert box.alive
    assert world.ends(box)
    assert box.cause == "spot interruption"
    assert world.says(world.box(1), "polling")


def test_the_scheduled_action_alone_ends_it(world: World) -> None:
    world.launch("echo up; trap '' TERM; sleep 600; sleep 600")
    box = world.box()
    world.aws.client("autoscaling").put_scheduled_update_group_action(
        AutoScalingGroupName=GROUP,
        ScheduledActionName="stop",
        StartTime=datetime.now(UTC) + timedelta(seconds=1),
        MinSize=0,
        MaxSize=0,
        DesiredCapacity=0,
    )
    assert world.ends(box)
    assert box.cause == "terminated"
    assert world.settled_empty()


def test_leaving_kills_everything_twice_over(world: World) -> None:
    world.launch("setsid sleep 600 & sleep 600")
    box = world.box()
    world.centre.close()
    world.centre.close()
    assert box.cause == "rehearsal over"
    assert not box.sandbox.processes()
