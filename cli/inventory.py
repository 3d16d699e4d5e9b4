"""Asks AWS what there is. Enters: how to get a client. Leaves: every resource of the kinds a run can make, by kind.

The question is asked by type, not by tag, so that something left untagged is seen as well. What was there
before a run is subtracted by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jmespath

from cli.refusal import refused

QUESTIONS = {
    "instances": (
        "ec2",
        "describe_instances",
        "Reservations[].Instances[?State.Name!='terminated' && State.Name!='shutting-down'][].InstanceId",
    ),
    "spot requests": (
        "ec2",
        "describe_spot_instance_requests",
        "SpotInstanceRequests[?State=='open' || State=='active'].SpotInstanceRequestId",
    ),
    "volumes": ("ec2", "describe_volumes", "Volumes[].VolumeId"),
    "snapshots": ("ec2", "describe_snapshots", "Snapshots[].SnapshotId"),
    "network interfaces": ("ec2", "describe_network_interfaces", "NetworkInterfaces[].NetworkInterfaceId"),
    "key pairs": ("ec2", "describe_key_pairs", "KeyPairs[].KeyPairId"),
    "launch templates": ("ec2", "describe_launch_templates", "LaunchTemplates[].LaunchTemplateId"),
    "VPCs": ("ec2", "describe_vpcs", "Vpcs[].VpcId"),
    "subnets": ("ec2", "describe_subnets", "Subnets[].SubnetId"),
    "internet gateways": ("ec2", "describe_internet_gateways", "InternetGateways[].InternetGatewayId"),
    "route tables": ("ec2", "describe_route_tables", "RouteTables[].RouteTableId"),
    "security groups": ("ec2", "describe_security_groups", "SecurityGroups[].GroupId"),
    "VPC endpoints": ("ec2", "describe_vpc_endpoints", "VpcEndpoints[].VpcEndpointId"),
    "groups": ("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups[].AutoScalingGroupName"),
    "buckets": ("s3", "list_buckets", "Buckets[].Name"),
    "roles": ("iam", "list_roles", "Roles[].RoleName"),
    "instance profiles": ("iam", "list_instance_profiles", "InstanceProfiles[].InstanceProfileName"),
    "functions": ("lambda", "list_functions", "Functions[].FunctionName"),
    "log groups": ("logs", "describe_log_groups", "logGroups[].logGroupName"),
    "parameters": ("ssm", "describe_parameters", "Parameters[].Name"),
    "topics": ("sns", "list_topics", "Topics[].TopicArn"),
    "budgets": ("budgets", "describe_budgets", "Budgets[].BudgetName"),
    "stacks": ("cloudformation", "list_stacks", "StackSummaries[?StackStatus!='DELETE_COMPLETE'].StackName"),
}
"""kind → (service, operation, JMESPath of the ids in an answer)"""

MINE = {"describe_snapshots": {"OwnerIds": ["self"]}}
"""Operations that would otherwise answer for every account in the world."""

Inventory = dict[str, set[str]]


def take_inventory(client: Callable[[str], Any]) -> Inventory:
    """Everything there is of each kind.

    Raises:
        CloudError: AWS refuses to say; nothing may be concluded from an unanswered question.
    """
    with refused("AWS does not answer sts get_caller_identity"):
        account = client("sts").get_caller_identity()["Account"]
    more = MINE | {"describe_budgets": {"AccountId": account}}
    return {kind: _ask(client(question[0]), *question, more) for kind, question in QUESTIONS.items()}


def _ask(client: Any, service: str, operation: str, ids: str, more: Mapping[str, Mapping[str, Any]]) -> set[str]:
    given = more.get(operation, {})
    with refused(f"AWS does not answer {service} {operation}"):
        if client.can_paginate(operation):
            return set(client.get_paginator(operation).paginate(**given).search(ids)) - {None}
        return set(jmespath.search(ids, getattr(client, operation)(**given)))


def left(before: Inventory, after: Inventory) -> Inventory:
    """What is there after and was not before; kinds with nothing are kept, empty."""
    return {kind: after[kind] - before[kind] for kind in after}
