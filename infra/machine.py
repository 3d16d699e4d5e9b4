"""The box: one spot instance at most, replaced when taken away. In a cluster it is the head, on demand, and a second
group holds its workers, as many spot instances as `Boxes` says.

Enters: network, role, what may be bought and what the box must know. Leaves: the Auto Scaling group, of size 0..1 or
0..`Boxes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from contract.config import MachineConfig
from infra import permissions
from infra.acknowledge import acknowledge
from infra.names import name_in_template
from infra.network import Network
from infra.role import BoxRole

ROOT_DEVICE = "/dev/sda1"
"""Of every Ubuntu image."""


@dataclass(frozen=True)
class Order:
    """What the group may buy. Without a highest price: on demand."""

    types: Sequence[str]
    max_price: str | None
    most: float = 1
    """Instances at the same time; a token where a parameter says it."""


class Machine(Construct):
    """`name` begins what it is called in the template: `BoxGroup`, `WorkerGroup`."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        doors: Sequence[ec2.ISecurityGroup],
        box: BoxRole,
        machine: MachineConfig,
        order: Order,
        user_data: str,
        name: str = "Box",
    ) -> None:
        super().__init__(scope, id)
        self._name = name
        self.template = ec2.LaunchTemplate(
            self,
            "Template",
            machine_image=ec2.MachineImage.from_ssm_parameter(machine.ami_parameter),
            instance_type=ec2.InstanceType(order.types[0]),
            role=box.role,
            security_group=doors[0],
            user_data=ec2.UserData.custom(user_data),
            http_tokens=ec2.LaunchTemplateHttpTokens.REQUIRED,
            http_put_response_hop_limit=1,
            instance_initiated_shutdown_behavior=ec2.InstanceInitiatedShutdownBehavior.TERMINATE,
            block_devices=[
                ec2.BlockDevice(
                    device_name=ROOT_DEVICE,
                    volume=ec2.BlockDeviceVolume.ebs(
                        machine.volume_gb,
                        volume_type=ec2.EbsDeviceVolumeType.GP3,
                        encrypted=True,
                        delete_on_termination=True,
                    ),
                )
            ],
        )
        for further in doors[1:]:
            self.template.add_security_group(further)
        self.group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            min_capacity=0,
            max_capacity=order.most,
            desired_capacity=order.most,
            capacity_rebalance=False,
            min_healthy_percentage=0,  # with 100 below: no box more than ordered, not even to replace one
            max_healthy_percentage=100,
            mixed_instances_policy=autoscaling.MixedInstancesPolicy(
                launch_template=self.template,
                launch_template_overrides=[
                    autoscaling.LaunchTemplateOverrides(instance_type=ec2.InstanceType(one)) for one in order.types
                ],
                instances_distribution=_spot(order.max_price) if order.max_price else _on_demand(),
            ),
        )
        self.group.node.add_dependency(box.role)
        name_in_template(self.template, f"{name}Template")
        name_in_template(self.group, f"{name}Group")
        acknowledge(
            self.group,
            "Annotation::@aws-cdk/aws-autoscaling:desiredCapacitySet",
            "The deploy starts the run; IgnoreUnmodifiedGroupSizeProperties keeps a redeploy from starting it again.",
        )
        acknowledge(
            self.group,
            "AwsSolutions-EC26",
            "The rule cannot read a mixed-instances policy; a template test asserts that the volume is encrypted.",
        )
        acknowledge(self.group, "AwsSolutions-AS3", "The run's own events, in its bucket, tell more than the group's.")

    def grant_end(self, box: BoxRole) -> None:
        policy = box.allow_apart(self, permissions.end_own_group(self.group.auto_scaling_group_arn))
        acknowledge(
            policy,
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:autoscaling:<AWS::Region>:<AWS::AccountId>:"
            f"autoScalingGroup:*:autoScalingGroupName/<{self._name}Group>]",
            "The asterisk stands for the group's uuid, which CloudFormation does not tell; the name is unique.",
        )

    def open_to(self, public_key: str) -> None:
        """The key's name follows its content, because EC2 cannot change a key in place."""
        name = f"{self.group.stack.stack_name}-{hashlib.sha256(public_key.encode()).hexdigest()[:8]}"
        key = ec2.CfnKeyPair(self, "Key", key_name=name, public_key_material=public_key)
        template = self.template.node.default_child
        assert isinstance(template, ec2.CfnLaunchTemplate)
        template.add_property_override("LaunchTemplateData.KeyName", name)
        template.add_resource_dependency(key)


def _spot(max_price: str) -> autoscaling.InstancesDistribution:
    return autoscaling.InstancesDistribution(
        on_demand_base_capacity=0,
        on_demand_percentage_above_base_capacity=0,
        spot_allocation_strategy=autoscaling.SpotAllocationStrategy.PRICE_CAPACITY_OPTIMIZED,
        spot_max_price=max_price,
    )


def _on_demand() -> autoscaling.InstancesDistribution:
    return autoscaling.InstancesDistribution(on_demand_percentage_above_base_capacity=100)
