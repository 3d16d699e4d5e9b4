"""`python -m infra.deploy_policy ACCOUNT REGION`: the policy of whoever deploys, one function per IAM statement.

Enters: account, region. Leaves: the JSON of a managed policy, for `aws iam create-policy`. It holds what `cdk deploy`,
`cdk destroy` and the `signspot` commands need and nothing else; it is tried, whole and with each statement taken
away, by `tests/rehearsal/test_deploy_policy.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infra.permissions import Permission

QUALIFIER = "hnb659fds"
"""Of the roles, the bucket and the parameter that `cdk bootstrap` makes, unless told otherwise."""
PARTITION = "aws"
EXAMPLE_ACCOUNT = "111122223333"
EXAMPLE_REGION = "us-east-1"


@dataclass(frozen=True)
class Place:
    """Where a run is deployed, and the ARNs of what is there."""

    account: str
    region: str

    def role(self, purpose: str) -> str:
        name = f"cdk-{QUALIFIER}-{purpose}-role-{self.account}-{self.region}"
        return f"arn:{PARTITION}:iam::{self.account}:role/{name}"

    @property
    def stacks(self) -> str:
        return f"arn:{PARTITION}:cloudformation:{self.region}:{self.account}:stack/signspot-*/*"

    @property
    def groups(self) -> str:
        return (
            f"arn:{PARTITION}:autoscaling:{self.region}:{self.account}:"
            "autoScalingGroup:*:autoScalingGroupName/signspot-*"
        )

    @property
    def buckets(self) -> str:
        return f"arn:{PARTITION}:s3:::signspot-*"


def deploy_as_cdk(place: Place) -> Permission:
    return Permission(
        sid="DeployAsCdk",
        actions=("sts:AssumeRole",),
        resources=(place.role("deploy"),),
        reason="`cdk deploy` and `cdk destroy` speak to CloudFormation as the deploy role that `cdk bootstrap` made.",
        without="`cdk deploy` and `cdk destroy` end before anything is changed.",
    )


def publish_as_cdk(place: Place) -> Permission:
    return Permission(
        sid="PublishAsCdk",
        actions=("sts:AssumeRole",),
        resources=(place.role("file-publishing"),),
        reason="Template, code and a local dataset are uploaded to the bootstrap bucket as the publishing role.",
        without="`cdk deploy` ends at its first upload; nothing is created.",
    )


def document(permissions: Iterable[Permission]) -> dict[str, Any]:
    """The policy as IAM takes it."""
    return {"Version": "2012-10-17", "Statement": [permission.statement() for permission in permissions]}


def deploy_permissions(account: str, region: str) -> tuple[Permission, ...]:
    place = Place(account, region)
    return tuple(statement(place) for statement in (deploy_as_cdk, publish_as_cdk))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy_policy", description="The policy of who deploys.")
    parser.add_argument("account", help="the account's 12 digits")
    parser.add_argument("region", help="such as us-east-1")
    place = parser.parse_args()
    print(json.dumps(document(deploy_permissions(place.account, place.region)), indent=2))


if __name__ == "__main__":
    main()
