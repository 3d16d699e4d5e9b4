"""What `-c extend_hours` asks AWS."""

from __future__ import annotations

import json

import boto3
import pytest
from moto import mock_aws

from contract.errors import CloudError
from infra.kept import extended_ceiling

KEPT = {"StopAt": "2099-01-01T00:00:00Z", "MaxPricePerHour": "0.5", "CeilingUsd": "1.00"}


def test_the_region_asked_is_the_one_deployed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 does not read AWS_REGION, by which the CDK CLI goes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    body = {
        "Parameters": {name: {"Type": "String", "Default": value} for name, value in KEPT.items()},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    }
    with mock_aws():
        boto3.client("cloudformation", region_name="us-west-2").create_stack(
            StackName="signspot-demo", TemplateBody=json.dumps(body)
        )
        assert extended_ceiling("signspot-demo", 2, "us-west-2").parameters["CeilingUsd"] == "2.00"
        with pytest.raises(CloudError, match="cannot be read"):
            extended_ceiling("signspot-demo", 2, "us-east-1")
