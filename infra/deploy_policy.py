"""`python -m infra.deploy_policy ACCOUNT REGION`: the policy of whoever deploys, one function per IAM statement.

Enters: account, region. Leaves: the JSON of a managed policy, for `aws iam create-policy`. It holds what `cdk deploy`,
`cdk destroy` and the `signspot` commands need and nothing else; it is tried, whole and with each statement taken
away, by `tests/rehearsal/test_deploy_policy.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.permissions import Permission

QUALIFIER = "hnb659fds"
"""Of the roles, the bucket and the parameter that `cdk bootstrap` makes, unless told otherwise."""
PARTITION = "aws"
OURS = "signspot-*"
"""Stacks are named `signspot-<run>`, and CloudFormation names what it makes after its stack."""
EXAMPLE_ACCOUNT = "111122223333"
EXAMPLE_REGION = "us-east-1"


DESCRIBED = (
    "Instances",
    "InternetGateways",
    "KeyPairs",
    "LaunchTemplates",
    "NetworkInterfaces",
    "RouteTables",
    "SecurityGroups",
    "Snapshots",
    "SpotInstanceRequests",
    "Subnets",
    "Volumes",
    "VpcEndpoints",
    "Vpcs",
)
"""What `signspot destroy` asks EC2 for."""


COMPARED = ("Images", "InstanceTypeOfferings", "InstanceTypes", "SpotPriceHistory")
"""What `signspot check` and `cost` ask EC2 for besides."""


@dataclass(frozen=True)
class Place:
    """Where runs are deployed, and the ARNs of what CloudFormation names after their stacks there."""

    account: str
    region: str

    def arn(self, service: str, what: str) -> str:
        return f"arn:{PARTITION}:{service}:{self.region}:{self.account}:{what}"

    def role_of_cdk(self, purpose: str) -> str:
        return self.iam(f"role/cdk-{QUALIFIER}-{purpose}-role-{self.account}-{self.region}")

    def iam(self, what: str) -> str:
        return f"arn:{PARTITION}:iam::{self.account}:{what}"

    @property
    def stacks(self) -> str:
        return self.arn("cloudformation", f"stack/{OURS}/*")

    @property
    def buckets(self) -> str:
        return f"arn:{PARTITION}:s3:::{OURS}"

    @property
    def own_account(self) -> Mapping[str, Mapping[str, str]]:
        """The ARN of a bucket has no account, and others may call theirs what they like."""
        return {"StringEquals": {"aws:ResourceAccount": self.account}}


def deploy_as_cdk(place: Place) -> Permission:
    return Permission(
        sid="DeployAsCdk",
        actions=("sts:AssumeRole",),
        resources=(place.role_of_cdk("deploy"),),
        reason="`cdk deploy` and `cdk destroy` speak to CloudFormation as the deploy role that `cdk bootstrap` made.",
        without="`cdk deploy` and `cdk destroy` end before anything is changed.",
    )


def publish_as_cdk(place: Place) -> Permission:
    return Permission(
        sid="PublishAsCdk",
        actions=("sts:AssumeRole",),
        resources=(place.role_of_cdk("file-publishing"),),
        reason="Template, code and a local dataset are uploaded to the bootstrap bucket as the publishing role.",
        without="`cdk deploy` ends at its first upload; nothing is created.",
    )


def read_stack(place: Place) -> Permission:
    return Permission(
        sid="ReadStack",
        actions=(
            "cloudformation:DescribeStackEvents",
            "cloudformation:DescribeStacks",
            "cloudformation:GetTemplate",
            "cloudformation:ListStackResources",
        ),
        resources=(place.stacks,),
        reason="Every command finds the run's bucket and group in the outputs of its stack; `destroy` follows its end.",
        without="`signspot status`, and with it every command but `stop`, does not find the run.",
    )


def read_run(place: Place) -> Permission:
    return Permission(
        sid="ReadRun",
        actions=("s3:GetObject",),
        resources=(f"{place.buckets}/runs/*",),
        conditions=place.own_account,
        reason="Status, logs, checkpoints and model are read from the run's bucket.",
        without="`signspot status` cannot read the status.",
    )


def list_run(place: Place) -> Permission:
    return Permission(
        sid="ListRun",
        actions=("s3:ListBucket",),
        resources=(place.buckets,),
        conditions=place.own_account,
        reason="Logs and events are found by listing; what does not exist yet is told apart from what is forbidden.",
        without="`signspot fetch` cannot list the logs, and so does not say that everything is here.",
    )


def extend_run(place: Place) -> Permission:
    public = f"arn:{PARTITION}:ssm:{place.region}::parameter/aws/service/*"
    return Permission(
        sid="ExtendRun",
        actions=("cloudformation:UpdateStack", "ssm:GetParameters"),
        resources=(place.stacks, place.arn("ssm", f"parameter/cdk-bootstrap/{QUALIFIER}/version"), public),
        reason="`signspot extend` changes two parameters of the stack; CloudFormation reads those that SSM keeps "
        "again, as the caller; `signspot check` looks at them.",
        without="`signspot extend` cannot move the deadline.",
    )


def tell_box(place: Place) -> Permission:
    return Permission(
        sid="TellBox",
        actions=("s3:PutObject",),
        resources=tuple(f"{place.buckets}/runs/*/{name}.json" for name in ("deadline", "stop")),
        conditions=place.own_account,
        reason="The box learns by these two objects of its new deadline, and that it is to save and to leave; nothing "
        "else of a run can be written.",
        without="`signspot extend` moves the deadline, and the box, which is not told, still ends at the old one; "
        "`signspot stop` ends the box unasked, and `signspot restart` starts none.",
    )


def stop_group(place: Place) -> Permission:
    return Permission(
        sid="StopGroup",
        actions=("autoscaling:UpdateAutoScalingGroup",),
        resources=(place.arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{OURS}"),),
        reason="`signspot stop` and `destroy` set the run's group to 0; AWS then ends the instance. `restart` sets it "
        "to 1 again.",
        without="`signspot stop` cannot end the instance: it runs until it is done or `StopAt` comes.",
    )


def delete_stack(place: Place) -> Permission:
    return Permission(
        sid="DeleteStack",
        actions=("cloudformation:DeleteStack",),
        resources=(place.stacks,),
        reason="`signspot destroy` deletes the stack; CloudFormation does it with the role the stack was made with.",
        without="`signspot destroy` ends the instance and fetches the results, and then the stack stays.",
    )


def remove_bucket(place: Place) -> Permission:
    return Permission(
        sid="RemoveBucket",
        actions=("s3:DeleteBucket", "s3:DeleteObjectVersion", "s3:ListBucketVersions"),
        resources=(place.buckets, f"{place.buckets}/*"),
        conditions=place.own_account,
        reason="`signspot destroy --with-bucket` removes the bucket that `run.keep_results` had kept.",
        without="`signspot destroy --with-bucket` cannot empty the bucket.",
    )


def look_around(_: Place) -> Permission:
    return Permission(
        sid="LookAround",
        actions=(
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:DescribeScheduledActions",
            "cloudformation:ListStacks",
            "ec2:DescribeAvailabilityZones",
            *(f"ec2:Describe{things}" for things in DESCRIBED),
            *(f"ec2:Describe{things}" for things in COMPARED),
            "logs:DescribeLogGroups",
            "pricing:GetProducts",
            "s3:ListAllMyBuckets",
            "ssm:DescribeParameters",
            "tag:GetResources",
        ),
        resources=("*",),
        reason="AWS is asked what there is, by id and by tag, what it costs, and by the first `cdk deploy` for the "
        "region's zones; it knows no finer resource for such questions.",
        without="`signspot stop` does not find the instance; `signspot destroy` cannot say that nothing is left.",
    )


def ask_for_quota(_: Place) -> Permission:
    return Permission(
        sid="AskForQuota",
        actions=(
            "servicequotas:GetAWSDefaultServiceQuota",
            "servicequotas:GetServiceQuota",
            "servicequotas:ListRequestedServiceQuotaChangeHistoryByQuota",
        ),
        resources=("*",),
        reason="`signspot check` compares EC2's quotas with what the machine needs; Service Quotas knows no finer "
        "resource for such questions.",
        without="`signspot check` says that the quota could not be asked; one of 0 shows only when no instance comes.",
    )


def raise_quota(place: Place) -> Permission:
    return Permission(
        sid="RaiseQuota",
        actions=("servicequotas:RequestServiceQuotaIncrease",),
        resources=(place.arn("servicequotas", "ec2/*"),),
        reason="`signspot check --request-quota` asks for more of EC2's.",
        without="`signspot check --request-quota` is refused; the console can ask as well.",
    )


def ask_after(place: Place) -> Permission:
    return Permission(
        sid="AskAfter",
        actions=(
            "budgets:ViewBudget",
            "iam:GetInstanceProfile",
            "iam:GetRole",
            "lambda:GetFunctionConfiguration",
            "sns:GetTopicAttributes",
        ),
        resources=(
            f"arn:{PARTITION}:budgets::{place.account}:budget/*",
            place.iam(f"instance-profile/{OURS}"),
            place.iam(f"role/{OURS}"),
            place.arn("lambda", f"function:{OURS}"),
            place.arn("sns", OURS),
        ),
        reason="What the stack had of these kinds is asked for by name, to see it gone. A budget's name is no sign of "
        "its run.",
        without="`signspot destroy` deletes everything and cannot prove it.",
    )


STATEMENTS = (
    deploy_as_cdk,
    publish_as_cdk,
    read_stack,
    read_run,
    list_run,
    extend_run,
    tell_box,
    stop_group,
    delete_stack,
    remove_bucket,
    look_around,
    ask_for_quota,
    raise_quota,
    ask_after,
)


def document(permissions: Iterable[Permission]) -> dict[str, Any]:
    """The policy as IAM takes it."""
    return {"Version": "2012-10-17", "Statement": [permission.statement() for permission in permissions]}


def deploy_permissions(account: str, region: str) -> tuple[Permission, ...]:
    place = Place(account, region)
    return tuple(statement(place) for statement in STATEMENTS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy_policy", description="The policy of who deploys.")
    parser.add_argument("account", help="the account's 12 digits")
    parser.add_argument("region", help="such as us-east-1")
    place = parser.parse_args()
    print(json.dumps(document(deploy_permissions(place.account, place.region)), indent=2))


if __name__ == "__main__":
    main()
