from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cli.inventory import QUESTIONS, left, take_inventory
from contract.errors import CloudError


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


def test_what_is_made_is_found_and_what_was_there_is_not() -> None:
    boto3.client("s3").create_bucket(Bucket="mine-before")
    before = take_inventory(boto3.client)
    assert left(before, take_inventory(boto3.client)) == {kind: set() for kind in QUESTIONS}
    boto3.client("s3").create_bucket(Bucket="left-over")
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    instance = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    found = left(before, take_inventory(boto3.client))
    assert found["buckets"] == {"left-over"}
    assert found["VPCs"] == {vpc}
    assert found["instances"] == {instance}
    ec2.terminate_instances(InstanceIds=[instance])
    assert left(before, take_inventory(boto3.client))["instances"] == set()


def test_a_question_that_is_not_answered_is_an_error_and_not_a_zero() -> None:
    def client(service: str) -> object:
        made = boto3.client(service)  # type: ignore[call-overload]

        def refuse(**_: object) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "op")

        made.meta.events.register("before-send", refuse)
        return made

    with pytest.raises(CloudError, match="does not answer"):
        take_inventory(client)
