"""CloudFormation resources that moto does not have, and deletions that it does not carry out.

Enters: a resource's properties from a template. Leaves: what it means in moto's other services.
The custom resources of the CDK are imitated, because their functions would need Docker.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.budgets.models import budgets_backends
from moto.core.common_models import CloudFormationModel
from moto.ec2.models import EC2Backend, ec2_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends


class Resource(CloudFormationModel):
    """A CloudFormation resource that moto does not have: remembers its name and nothing else."""

    types: tuple[str, ...] = ()

    def __init__(self, name: str, properties: dict[str, Any]) -> None:
        self.name = name
        self.properties = properties

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr != ""

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return f"{self.name}.{attribute_name}"

    def is_created(self) -> bool:
        return True

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> Resource:
        resource = cls(resource_name, cloudformation_json["Properties"])
        resource.create(account_id, region_name)
        return resource

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Resource,
        new_resource_name: str,  # noqa: ARG003
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Resource:
        original_resource.properties = cloudformation_json["Properties"]
        original_resource.create(account_id, region_name)
        return original_resource

    def create(self, account: str, region: str) -> None:
        """Makes the resource, or brings it up to date."""

    def delete(self, account: str, region: str) -> None:
        """Takes the resource away."""


class BucketPolicy(Resource):
    types = ("AWS::S3::BucketPolicy",)

    def create(self, account: str, _: str) -> None:
        document = json.dumps(self.properties["PolicyDocument"]).encode()
        s3_backends[account]["aws"].put_bucket_policy(self.properties["Bucket"], document)

    def delete(self, account: str, _: str) -> None:
        if self.properties["Bucket"] in s3_backends[account]["aws"].buckets:
            s3_backends[account]["aws"].delete_bucket_policy(self.properties["Bucket"])


class KeyPair(Resource):
    types = ("AWS::EC2::KeyPair",)

    def create(self, account: str, region: str) -> None:
        self.name = self.properties["KeyName"]
        pairs = ec2_backends[account][region]
        if not pairs.describe_key_pairs([], {"key-name": [self.name]}):
            pairs.import_key_pair(self.name, self.properties.get("PublicKeyMaterial", "").encode(), {})

    def delete(self, account: str, region: str) -> None:
        ec2_backends[account][region].delete_key_pair(self.name)


class AutoDeleteObjects(Resource):
    """The CDK's custom resource: on deletion, the bucket loses every version of every object."""

    types = ("Custom::S3AutoDeleteObjects",)

    def delete(self, account: str, _: str) -> None:
        bucket = s3_backends[account]["aws"].buckets.get(self.properties["BucketName"])
        if bucket is not None:
            bucket.keys.clear()
            bucket.multiparts.clear()


class RestrictDefaultSecurityGroup(Resource):
    """The CDK's other custom resource: the VPC's default security group lets nothing in or out."""

    types = ("Custom::VpcRestrictDefaultSG",)

    def create(self, account: str, region: str) -> None:
        backend = ec2_backends[account][region]
        group = backend.get_security_group_from_id(self.properties["DefaultSecurityGroupId"])
        if group is not None:
            group.ingress_rules.clear()
            group.egress_rules.clear()


class Subscription(Resource):
    types = ("AWS::SNS::Subscription",)

    def create(self, account: str, region: str) -> None:
        wanted = self.properties
        topic = sns_backends[account][region].subscribe(wanted["TopicArn"], wanted["Endpoint"], wanted["Protocol"])
        self.name = topic.arn

    def delete(self, account: str, region: str) -> None:
        sns_backends[account][region].unsubscribe(self.name)


class Budget(Resource):
    types = ("AWS::Budgets::Budget",)

    def create(self, account: str, region: str) -> None:
        """Under the name of its template, or of its logical id; an update replaces it."""
        budget = {"BudgetName": self.name, **self.properties["Budget"]}
        self.name = budget["BudgetName"]
        self.delete(account, region)
        notifications = self.properties.get("NotificationsWithSubscribers", [])
        budgets_backends[account]["aws"].create_budget(account, budget, notifications)

    def delete(self, account: str, _: str) -> None:
        budgets_backends[account]["aws"].budgets[account].pop(self.name, None)


class Skipped(Resource):
    """Stands for a type that neither moto nor this module has."""


IMITATED = {
    name: model
    for model in (AutoDeleteObjects, BucketPolicy, Budget, KeyPair, RestrictDefaultSecurityGroup, Subscription)
    for name in model.types
}


def _drop_route_table(ec2: EC2Backend, table: Any) -> None:
    table._associations.clear()
    ec2.delete_route_table(table.id)


def _drop_endpoint(ec2: EC2Backend, endpoint: Any) -> None:
    ec2.delete_vpc_endpoints([endpoint.id])
    ec2.vpc_end_points.pop(endpoint.id)


def _drop_network(ec2: EC2Backend, vpc: Any) -> None:
    for acl in [one for one in ec2.network_acls.values() if one.vpc_id == vpc.id]:
        del ec2.network_acls[acl.id]
    ec2.delete_vpc(vpc.id)


REMOVALS: dict[str, Callable[[EC2Backend, Any], Any]] = {
    "AWS::EC2::InternetGateway": lambda ec2, gateway: ec2.internet_gateways.pop(gateway.id),
    "AWS::EC2::RouteTable": _drop_route_table,
    "AWS::EC2::VPC": _drop_network,
    "AWS::EC2::VPCEndpoint": _drop_endpoint,
}
"""Types that moto creates from a template and would leave behind when the stack goes."""
