"""The box: one spot instance at most, replaced when taken away.

Enters: network, role, the highest price and what the box must know. Leaves: the Auto Scaling group of size 0..1.
"""

from __future__ import annotations

import hashlib

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


class Machine(Construct):
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        box: BoxRole,
        machine: MachineConfig,
        max_price: str,
        user_data: str,
    ) -> None:
        super().__init__(scope, id)
        self.template = ec2.LaunchTemplate(
            self,
            "Template",
            machine_image=ec2.MachineImage.from_ssm_parameter(machine.ami_parameter),
            instance_type=ec2.InstanceType(machine.instance_types[0]),
            role=box.role,
            security_group=network.door,
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
        self.group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            min_capacity=0,
            max_capacity=1,
            desired_capacity=1,
            capacity_rebalance=False,
            min_healthy_percentage=0,  # with 100 below: no second box beside the first, not even to replace it
            max_healthy_percentage=100,
            mixed_instances_policy=autoscaling.MixedInstancesPolicy(
                launch_template=self.template,
                launch_template_overrides=[
                    autoscaling.LaunchTemplateOverrides(instance_type=ec2.InstanceType(name))
                    for name in machine.instance_types
                ],
                instances_distribution=autoscaling.InstancesDistribution(
                    on_demand_base_capacity=0,
                    on_demand_percentage_above_base_capacity=0,
                    spot_allocation_strategy=autoscaling.SpotAllocationStrategy.PRICE_CAPACITY_OPTIMIZED,
                    spot_max_price=max_price,
                ),
            ),
        )
        self.group.node.add_dependency(box.role)
        name_in_template(self.template, "BoxTemplate")
        name_in_template(self.group, "BoxGroup")
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
            "autoScalingGroup:*:autoScalingGroupName/<BoxGroup>]",
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
