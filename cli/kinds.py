"""Every kind of thing a run can leave in an account: how AWS is asked for it, and the command that removes it.

The kinds stand in the order in which they can be removed. Commands have `{id}`, `{region}`, `{account}` and `{run}`
to fill in.
"""

from __future__ import annotations

from typing import Any

from cli.kind import Kind, by_filter, one_by_one

TAG = "signspot:run"


def _ec2(name: str, things: str, found: str, filter_name: str, remove: str, *types: str, **more: Any) -> Kind:
    more = {"tagged": by_filter(f"tag:{TAG}"), "known": by_filter(filter_name), **more}
    return Kind(
        name,
        "ec2",
        f"describe_{things}",
        found,
        remove=f"aws --region {{region}} ec2 {remove}",
        types=tuple(f"AWS::EC2::{one}" for one in types),
        **more,
    )


SPOT = "SpotInstanceRequests[?State=='open' || State=='active'].SpotInstanceRequestId"
INSTANCES = "Reservations[].Instances[?State.Name!='terminated'][].InstanceId"
GATEWAY = (
    "for v in $(aws --region {region} ec2 describe-internet-gateways --internet-gateway-ids {id}"
    " --query InternetGateways[].Attachments[].VpcId --output text);"
    " do aws --region {region} ec2 detach-internet-gateway --internet-gateway-id {id} --vpc-id $v; done;"
    " aws --region {region} ec2 delete-internet-gateway --internet-gateway-id {id}"
)
PROFILE = (
    "for r in $(aws iam get-instance-profile --instance-profile-name {id}"
    " --query InstanceProfile.Roles[].RoleName --output text);"
    " do aws iam remove-role-from-instance-profile --instance-profile-name {id} --role-name $r; done;"
    " aws iam delete-instance-profile --instance-profile-name {id}"
)
ROLE = (
    "for p in $(aws iam list-role-policies --role-name {id} --query PolicyNames[] --output text);"
    " do aws iam delete-role-policy --role-name {id} --policy-name $p; done;"
    " for p in $(aws iam list-attached-role-policies --role-name {id}"
    " --query AttachedPolicies[].PolicyArn --output text);"
    " do aws iam detach-role-policy --role-name {id} --policy-arn $p; done;"
    " aws iam delete-role --role-name {id}"
)

BUCKETS = Kind(
    "buckets",
    "s3",
    "list_buckets",
    "Buckets[].Name",
    lambda _: [{}],
    "signspot destroy {run} --with-bucket",
    ("AWS::S3::Bucket",),
    "s3:",
)

KINDS = (
    Kind(
        "groups",
        "autoscaling",
        "describe_auto_scaling_groups",
        "AutoScalingGroups[].AutoScalingGroupName",
        lambda names: [{"AutoScalingGroupNames": names}],
        "aws --region {region} autoscaling delete-auto-scaling-group --auto-scaling-group-name {id} --force-delete",
        ("AWS::AutoScaling::AutoScalingGroup",),
        "autoscaling:autoScalingGroup",
        by_filter(f"tag:{TAG}"),
    ),
    _ec2(
        "spot requests",
        "spot_instance_requests",
        SPOT,
        "spot-instance-request-id",
        "cancel-spot-instance-requests --spot-instance-request-ids {id}",
        arn="ec2:spot-instances-request",
    ),
    _ec2(
        "instances",
        "instances",
        INSTANCES,
        "instance-id",
        "terminate-instances --instance-ids {id}",
        "Instance",
        arn="ec2:instance",
    ),
    _ec2(
        "network interfaces",
        "network_interfaces",
        "NetworkInterfaces[].NetworkInterfaceId",
        "network-interface-id",
        "delete-network-interface --network-interface-id {id}",
        "NetworkInterface",
        arn="ec2:network-interface",
        in_vpc=by_filter("vpc-id"),
    ),
    _ec2(
        "volumes",
        "volumes",
        "Volumes[].VolumeId",
        "volume-id",
        "delete-volume --volume-id {id}",
        "Volume",
        arn="ec2:volume",
    ),
    _ec2(
        "snapshots",
        "snapshots",
        "Snapshots[].SnapshotId",
        "snapshot-id",
        "delete-snapshot --snapshot-id {id}",
        arn="ec2:snapshot",
    ),
    _ec2(
        "key pairs",
        "key_pairs",
        "KeyPairs[].KeyName",
        "key-name",
        "delete-key-pair --key-name {id}",
        "KeyPair",
    ),
    _ec2(
        "launch templates",
        "launch_templates",
        "LaunchTemplates[].LaunchTemplateId",
        "",
        "delete-launch-template --launch-template-id {id}",
        "LaunchTemplate",
        arn="ec2:launch-template",
        known=lambda ids: [{"LaunchTemplateIds": [one]} for one in ids],
    ),
    _ec2(
        "VPC endpoints",
        "vpc_endpoints",
        "VpcEndpoints[?State!='deleted'].VpcEndpointId",
        "",
        "delete-vpc-endpoints --vpc-endpoint-ids {id}",
        "VPCEndpoint",
        arn="ec2:vpc-endpoint",
        known=lambda ids: [{"VpcEndpointIds": [one]} for one in ids],
    ),
    _ec2(
        "security groups",
        "security_groups",
        "SecurityGroups[?GroupName!='default'].GroupId",
        "group-id",
        "delete-security-group --group-id {id}",
        "SecurityGroup",
        arn="ec2:security-group",
        in_vpc=by_filter("vpc-id"),
    ),
    _ec2(
        "subnets",
        "subnets",
        "Subnets[].SubnetId",
        "subnet-id",
        "delete-subnet --subnet-id {id}",
        "Subnet",
        arn="ec2:subnet",
    ),
    _ec2(
        "route tables",
        "route_tables",
        "RouteTables[].RouteTableId",
        "route-table-id",
        "delete-route-table --route-table-id {id}",
        "RouteTable",
        arn="ec2:route-table",
    ),
    Kind(
        "internet gateways",
        "ec2",
        "describe_internet_gateways",
        "InternetGateways[].InternetGatewayId",
        by_filter("internet-gateway-id"),
        GATEWAY,
        ("AWS::EC2::InternetGateway",),
        "ec2:internet-gateway",
        by_filter(f"tag:{TAG}"),
    ),
    _ec2("VPCs", "vpcs", "Vpcs[].VpcId", "vpc-id", "delete-vpc --vpc-id {id}", "VPC", arn="ec2:vpc"),
    Kind(
        "parameters",
        "ssm",
        "describe_parameters",
        "Parameters[].Name",
        lambda names: [{"ParameterFilters": [{"Key": "Name", "Values": names}]}],
        "aws --region {region} ssm delete-parameter --name {id}",
        ("AWS::SSM::Parameter",),
        tagged=lambda runs: [{"ParameterFilters": [{"Key": f"tag:{TAG}", "Values": runs}]}],
    ),
    Kind(
        "log groups",
        "logs",
        "describe_log_groups",
        "logGroups[].logGroupName",
        one_by_one("logGroupNamePrefix"),
        "aws --region {region} logs delete-log-group --log-group-name {id}",
        ("AWS::Logs::LogGroup",),
        "logs:log-group",
    ),
    Kind(
        "topics",
        "sns",
        "get_topic_attributes",
        "[Attributes.TopicArn]",
        one_by_one("TopicArn"),
        "aws --region {region} sns delete-topic --topic-arn {id}",
        ("AWS::SNS::Topic",),
        "sns:",
        id_is_arn=True,
    ),
    Kind(
        "functions",
        "lambda",
        "get_function_configuration",
        "[FunctionName]",
        one_by_one("FunctionName"),
        "aws --region {region} lambda delete-function --function-name {id}",
        ("AWS::Lambda::Function",),
        "lambda:function",
    ),
    Kind(
        "instance profiles",
        "iam",
        "get_instance_profile",
        "[InstanceProfile.InstanceProfileName]",
        one_by_one("InstanceProfileName"),
        PROFILE,
        ("AWS::IAM::InstanceProfile",),
        "iam:instance-profile",
    ),
    Kind(
        "roles",
        "iam",
        "get_role",
        "[Role.RoleName]",
        one_by_one("RoleName"),
        ROLE,
        ("AWS::IAM::Role",),
        "iam:role",
    ),
    Kind(
        "budgets",
        "budgets",
        "describe_budget",
        "[Budget.BudgetName]",
        one_by_one("BudgetName"),
        "aws budgets delete-budget --account-id {account} --budget-name {id}",
        ("AWS::Budgets::Budget",),
        "budgets:budget",
    ),
    BUCKETS,
    Kind(
        "stacks",
        "cloudformation",
        "describe_stacks",
        "Stacks[?StackStatus!='DELETE_COMPLETE'].StackId",
        one_by_one("StackName"),
        "signspot destroy {run}",
        ("AWS::CloudFormation::Stack",),
        "cloudformation:stack",
        id_is_arn=True,
    ),
)

GONE = {
    ("budgets", "NotFoundException"),
    ("cloudformation", "ValidationError"),
    ("ec2", "InvalidLaunchTemplateId.NotFound"),
    ("ec2", "InvalidVpcEndpointId.NotFound"),
    ("iam", "NoSuchEntity"),
    ("lambda", "ResourceNotFoundException"),
    ("sns", "NotFound"),
    ("sns", "NotFoundException"),
}
"""What a service answers when it is asked for one thing that is not there."""
