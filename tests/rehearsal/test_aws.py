"""The emulated account behaves like one: permissions count, stacks leave nothing, time passes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rehearsal.aws import EmulatedAws
from rehearsal.iam import decide
from rehearsal.mends import dependents_first

TRUST = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
BUCKET = "the-bucket"
MINE = f"arn:aws:s3:::{BUCKET}/runs/mine/*"


@pytest.fixture
def aws() -> Iterator[EmulatedAws]:
    with EmulatedAws() as account:
        yield account


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def role(aws: EmulatedAws, *statements: dict[str, Any]) -> dict[str, str]:
    iam = aws.client("iam")
    iam.create_role(RoleName="box", AssumeRolePolicyDocument=document(TRUST))
    iam.put_role_policy(RoleName="box", PolicyName="box", PolicyDocument=document(*statements))
    return aws.role_credentials("box", "i-0abc")


def allow(action: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def test_a_role_does_what_it_may_and_a_refusal_names_the_rest(aws: EmulatedAws) -> None:
    aws.client("s3").create_bucket(Bucket=BUCKET)
    box = aws.client_with("s3", role(aws, allow("s3:PutObject", MINE)))
    box.put_object(Bucket=BUCKET, Key="runs/mine/a", Body=b"1")
    with pytest.raises(ClientError, match="not authorized to perform: s3:PutObject") as refused:
        box.put_object(Bucket=BUCKET, Key="runs/other/a", Body=b"1")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError, match="s3:GetObject"):
        box.get_object(Bucket=BUCKET, Key="runs/mine/a")
    with pytest.raises(ClientError, match="s3:DeleteObject"):
        box.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "runs/mine/a"}]})
    assert [denial.action for denial in aws.denied] == ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"]


def test_conditions_count(aws: EmulatedAws) -> None:
    aws.client("s3").create_bucket(Bucket=BUCKET)
    listing = allow("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", StringLike={"s3:prefix": "runs/mine/*"})
    box = aws.client_with("s3", role(aws, listing))
    assert box.list_objects_v2(Bucket=BUCKET, Prefix="runs/mine/")["KeyCount"] == 0
    with pytest.raises(ClientError, match="s3:ListBucket"):
        box.list_objects_v2(Bucket=BUCKET, Prefix="runs/")


def test_ending_an_instance_that_no_group_has_is_no_question_of_permission(aws: EmulatedAws) -> None:
    end = "autoscaling:TerminateInstanceInAutoScalingGroup"
    own = role(aws, allow(end, "arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/own"))
    with pytest.raises(ClientError, match="No managed instance"):
        aws.client_with("autoscaling", own).terminate_instance_in_auto_scaling_group(
            InstanceId="i-forgotten", ShouldDecrementDesiredCapacity=True
        )
    assert not aws.denied


def test_other_services_name_the_action_too(aws: EmulatedAws) -> None:
    held = role(aws, allow("s3:*"))
    with pytest.raises(ClientError, match="autoscaling:DescribeAutoScalingGroups"):
        aws.client_with("autoscaling", held).describe_auto_scaling_groups()
    with pytest.raises(ClientError, match="sns:Publish"):
        aws.client_with("sns", held).publish(TopicArn="arn:aws:sns:us-east-1:123456789012:t", Message="m")


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([], False),
        ([allow("s3:Get*", MINE)], True),
        ([allow("s3:GetObject", "arn:aws:s3:::other/*")], False),
        ([allow("s3:*"), {"Effect": "Deny", "Action": "s3:GetObject", "Resource": MINE}], False),
        ([allow("s3:*"), {"Effect": "Deny", "NotAction": "s3:GetObject", "Resource": "*"}], True),
        ([{"Effect": "Allow", "Action": "s3:*", "NotResource": MINE}], False),
        ([allow("s3:*", Bool={"aws:SecureTransport": "false"})], False),
        ([allow("s3:*", StringEquals={"aws:PrincipalTag/team": "x"})], False),
        ([allow("s3:*", StringNotEquals={"aws:PrincipalTag/team": "x"})], True),
        ([allow("s3:*", StringEqualsIfExists={"aws:PrincipalTag/team": "x"})], True),
        ([allow("s3:*", Null={"aws:PrincipalTag/team": "true"})], True),
        ([allow("s3:*", "arn:aws:s3:::${aws:bucket}/*")], True),
    ],
)
def test_policies_are_evaluated_as_aws_documents(statements: list[dict[str, Any]], allowed: bool) -> None:
    context = {"aws:securetransport": "true", "aws:bucket": BUCKET}
    policy = {"Version": "2012-10-17", "Statement": statements}
    assert decide([policy], "s3:GetObject", f"arn:aws:s3:::{BUCKET}/runs/mine/a", context) == allowed


def test_unsigned_requests_are_refused(aws: EmulatedAws) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(f"{aws.endpoint}/{BUCKET}/key"):
        pass
    with refused.value as answer:
        assert answer.code == 403


def test_the_public_image_parameter_resolves(aws: EmulatedAws) -> None:
    image = aws.client("ssm").get_parameter(Name=aws.ami_parameter)["Parameter"]["Value"]
    assert aws.client("ec2").describe_images(ImageIds=[image])["Images"]


def test_nothing_survives() -> None:
    with EmulatedAws() as aws:
        aws.client("s3").create_bucket(Bucket=BUCKET)
    with EmulatedAws() as aws:
        assert aws.client("s3").list_buckets()["Buckets"] == []


def test_faults_reach_the_client(aws: EmulatedAws) -> None:
    aws.fault = lambda environ: (503, {}, b"") if environ["REQUEST_METHOD"] == "PUT" else None
    with pytest.raises(ClientError, match="503"):
        aws.client("s3").create_bucket(Bucket=BUCKET)
    assert aws.client("s3").list_buckets()["Buckets"] == []


def test_the_laptop_environment_drops_what_was_there(aws: EmulatedAws) -> None:
    environment = aws.environment({"AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "t", "HOME": "/root"})
    assert environment["AWS_ENDPOINT_URL"].startswith("http://localhost:")
    assert environment["HOME"] == "/root"
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & environment.keys()


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG5zdA5Nbv2PzR8VvE2R0yJv6kRzY2tU6l0O9wQ1Jc3d owner"

STACK: dict[str, Any] = {
    "Parameters": {
        "StopAt": {"Type": "String", "Default": "2099-01-01T00:00:00Z"},
        "Size": {"Type": "String", "Default": "1"},
    },
    "Resources": {
        "Network": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Gateway": {"Type": "AWS::EC2::InternetGateway"},
        "Attached": {
            "Type": "AWS::EC2::VPCGatewayAttachment",
            "Properties": {"VpcId": {"Ref": "Network"}, "InternetGatewayId": {"Ref": "Gateway"}},
        },
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {
                "VpcId": {"Ref": "Network"},
                "CidrBlock": "10.0.0.0/24",
                "AvailabilityZone": "us-east-1a",
                "MapPublicIpOnLaunch": True,
            },
        },
        "Routes": {"Type": "AWS::EC2::RouteTable", "Properties": {"VpcId": {"Ref": "Network"}}},
        "Routed": {
            "Type": "AWS::EC2::SubnetRouteTableAssociation",
            "Properties": {"SubnetId": {"Ref": "Subnet"}, "RouteTableId": {"Ref": "Routes"}},
        },
        "Out": {
            "Type": "AWS::EC2::Route",
            "DependsOn": "Attached",
            "Properties": {
                "RouteTableId": {"Ref": "Routes"},
                "DestinationCidrBlock": "0.0.0.0/0",
                "GatewayId": {"Ref": "Gateway"},
            },
        },
        "Endpoint": {
            "Type": "AWS::EC2::VPCEndpoint",
            "Properties": {
                "VpcId": {"Ref": "Network"},
                "ServiceName": "com.amazonaws.us-east-1.s3",
                "VpcEndpointType": "Gateway",
                "RouteTableIds": [{"Ref": "Routes"}],
            },
        },
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"VersioningConfiguration": {"Status": "Enabled"}}},
        "BucketPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {
                "Bucket": {"Ref": "Bucket"},
                "PolicyDocument": {
                    "Statement": [
                        {
                            "Effect": "Deny",
                            "Principal": "*",
                            "Action": "s3:*",
                            "Resource": "*",
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        }
                    ]
                },
            },
        },
        "Emptied": {"Type": "Custom::S3AutoDeleteObjects", "Properties": {"BucketName": {"Ref": "Bucket"}}},
        "Key": {"Type": "AWS::EC2::KeyPair", "Properties": {"KeyName": "owner", "PublicKeyMaterial": KEY}},
        "Template": {
            "Type": "AWS::EC2::LaunchTemplate",
            "Properties": {"LaunchTemplateData": {"ImageId": "ami-00000000", "InstanceType": "t3.micro"}},
        },
        "Group": {
            "Type": "AWS::AutoScaling::AutoScalingGroup",
            "DependsOn": ["Emptied", "Bucket"],
            "UpdatePolicy": {"AutoScalingScheduledAction": {"IgnoreUnmodifiedGroupSizeProperties": True}},
            "Properties": {
                "MinSize": "0",
                "MaxSize": {"Ref": "Size"},
                "DesiredCapacity": "1",
                "VPCZoneIdentifier": [{"Ref": "Subnet"}],
                "MixedInstancesPolicy": {
                    "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 0},
                    "LaunchTemplate": {
                        "LaunchTemplateSpecification": {
                            "LaunchTemplateId": {"Ref": "Template"},
                            "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]},
                        },
                        "Overrides": [{"InstanceType": "g4dn.xlarge"}],
                    },
                },
            },
        },
        "Stop": {
            "Type": "AWS::AutoScaling::ScheduledAction",
            "Properties": {
                "AutoScalingGroupName": {"Ref": "Group"},
                "StartTime": {"Ref": "StopAt"},
                "MinSize": 0,
                "MaxSize": 0,
                "DesiredCapacity": 0,
            },
        },
    },
    "Outputs": {"Bucket": {"Value": {"Ref": "Bucket"}}, "Group": {"Value": {"Ref": "Group"}}},
}


def change(aws: EmulatedAws, kind: str, parameters: list[dict[str, Any]], template: dict[str, Any] = STACK) -> None:
    cloud = aws.client("cloudformation")
    body: dict[str, Any] = {"TemplateBody": json.dumps(template), "Parameters": parameters, "ChangeSetType": kind}
    cloud.create_change_set(StackName="run", ChangeSetName="change", **body)
    cloud.execute_change_set(StackName="run", ChangeSetName="change")


def deploy(aws: EmulatedAws, **parameters: str) -> dict[str, str]:
    change(aws, "CREATE", [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()])
    (stack,) = aws.client("cloudformation").describe_stacks(StackName="run")["Stacks"]
    events = aws.client("cloudformation").describe_stack_events(StackName="run")["StackEvents"]
    assert stack["StackStatus"] == "CREATE_COMPLETE", [event.get("ResourceStatusReason") for event in events]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def group(aws: EmulatedAws) -> Any:
    (found,) = aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return found


def instances(aws: EmulatedAws) -> list[Any]:
    reservations = aws.client("ec2").describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )["Reservations"]
    return [instance for reservation in reservations for instance in reservation["Instances"]]


def test_a_stack_leaves_nothing_although_its_bucket_is_full(aws: EmulatedAws) -> None:
    ec2, s3 = aws.client("ec2"), aws.client("s3")
    vpcs = len(ec2.describe_vpcs()["Vpcs"])
    outputs = deploy(aws)
    for body in (b"1", b"2"):
        s3.put_object(Bucket=outputs["Bucket"], Key="runs/mine/a", Body=body)
    assert len(s3.list_object_versions(Bucket=outputs["Bucket"])["Versions"]) == 2
    (instance,) = instances(aws)
    assert instance["InstanceType"] == "g4dn.xlarge"
    assert instance["PublicIpAddress"].startswith("127."), "nobody but this machine is there"
    aws.client("cloudformation").delete_stack(StackName="run")
    assert instances(aws) == []
    assert s3.list_buckets()["Buckets"] == []
    assert len(ec2.describe_vpcs()["Vpcs"]) == vpcs
    for listing, key in (
        (ec2.describe_internet_gateways(), "InternetGateways"),
        (ec2.describe_vpc_endpoints(), "VpcEndpoints"),
        (ec2.describe_volumes(), "Volumes"),
        (ec2.describe_network_interfaces(), "NetworkInterfaces"),
        (ec2.describe_key_pairs(), "KeyPairs"),
        (ec2.describe_launch_templates(), "LaunchTemplates"),
        (aws.client("autoscaling").describe_scheduled_actions(), "ScheduledUpdateGroupActions"),
    ):
        assert listing[key] == []  # type: ignore[literal-required]
    assert aws.skipped == set()


def test_a_redeploy_keeps_parameters_the_group_and_its_size(aws: EmulatedAws) -> None:
    name = deploy(aws, StopAt="2098-01-01T00:00:00Z")["Group"]
    aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, DesiredCapacity=0)
    newer = json.loads(json.dumps(STACK))
    newer["Parameters"]["StopAt"]["Default"] = "2099-06-01T00:00:00Z"
    newer["Resources"]["Group"]["Properties"]["HealthCheckGracePeriod"] = 60
    kept = [{"ParameterKey": key, "UsePreviousValue": True} for key in newer["Parameters"]]
    change(aws, "UPDATE", kept, newer)
    assert group(aws)["AutoScalingGroupName"] == name
    assert group(aws)["DesiredCapacity"] == 0
    (action,) = aws.client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    assert action["StartTime"] == datetime(2098, 1, 1, tzinfo=UTC)
    change(aws, "UPDATE", [{"ParameterKey": "StopAt", "ParameterValue": "2097-01-01T00:00:00Z"}], newer)
    (action,) = aws.client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    assert action["StartTime"] == datetime(2097, 1, 1, tzinfo=UTC)
    change(aws, "UPDATE", [], newer)
    (action,) = aws.client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    assert action["StartTime"] == datetime(2099, 6, 1, tzinfo=UTC), "what is not mentioned has its default again"


def test_a_failed_creation_is_rolled_back(aws: EmulatedAws) -> None:
    broken = json.loads(json.dumps(STACK))
    broken["Resources"]["Late"] = {
        "Type": "AWS::EC2::Subnet",
        "Properties": {"VpcId": "vpc-none", "CidrBlock": "10.0.0.0/24"},
        "DependsOn": "Group",
    }
    change(aws, "CREATE", [], broken)
    (stack,) = aws.client("cloudformation").describe_stacks(StackName="run")["Stacks"]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert instances(aws) == []


def test_scheduled_actions_happen_at_their_time() -> None:
    ahead = timedelta()
    with EmulatedAws(clock=lambda: datetime.now(UTC) + ahead, poll=0.05) as aws:
        deploy(aws, StopAt=f"{datetime.now(UTC) + timedelta(hours=8):%Y-%m-%dT%H:%M:%SZ}")
        aws.run_due_actions()
        assert len(instances(aws)) == 1
        ahead = timedelta(hours=9)
        aws.run_due_actions()
        assert instances(aws) == []
        assert (group(aws)["MaxSize"], group(aws)["DesiredCapacity"]) == (0, 0)


def test_the_killer_comes_back_and_a_redeploy_after_the_end_starts_nothing() -> None:
    ahead = timedelta()
    recurring = json.loads(json.dumps(STACK))
    recurring["Resources"]["Stop"]["Properties"]["Recurrence"] = "*/5 * * * *"
    with EmulatedAws(clock=lambda: datetime.now(UTC) + ahead, poll=3600) as aws:
        end = f"{datetime.now(UTC) + timedelta(hours=8):%Y-%m-%dT%H:%M:%SZ}"
        change(aws, "CREATE", [{"ParameterKey": "StopAt", "ParameterValue": end}], recurring)
        ahead = timedelta(hours=9)
        aws.run_due_actions()
        assert instances(aws) == []
        recurring["Resources"]["Group"]["Properties"]["HealthCheckGracePeriod"] = 60
        change(
            aws, "UPDATE", [{"ParameterKey": key, "UsePreviousValue": True} for key in STACK["Parameters"]], recurring
        )
        (stack,) = aws.client("cloudformation").describe_stacks(StackName="run")["Stacks"]
        assert stack["StackStatus"] == "UPDATE_COMPLETE"
        assert instances(aws) == []
        name = group(aws)["AutoScalingGroupName"]
        raised = {"MaxSize": 1, "DesiredCapacity": 1}
        aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=name, **raised)
        assert len(instances(aws)) == 1
        ahead = timedelta(hours=9, minutes=6)
        aws.run_due_actions()
        assert instances(aws) == []


def test_an_end_in_the_past_is_refused_and_leaves_nothing_running(aws: EmulatedAws) -> None:
    change(aws, "CREATE", [{"ParameterKey": "StopAt", "ParameterValue": "2020-01-01T00:00:00Z"}])
    cloud = aws.client("cloudformation")
    (stack,) = cloud.describe_stacks(StackName="run")["Stacks"]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    reasons = [
        str(event.get("ResourceStatusReason")) for event in cloud.describe_stack_events(StackName="run")["StackEvents"]
    ]
    assert any("start time is in the past" in reason for reason in reasons)
    assert instances(aws) == []


def test_dependents_are_deleted_before_what_they_need() -> None:
    order = dependents_first(STACK["Resources"])
    for first, then in (("Group", "Emptied"), ("Emptied", "Bucket"), ("Stop", "Group"), ("Subnet", "Network")):
        assert order.index(first) < order.index(then)
