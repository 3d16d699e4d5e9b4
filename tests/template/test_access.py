"""Invariant I3: at most TCP 22 from one address, IMDSv2 only, nothing readable by others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Annotations, Match, Template

Synthesised = dict[str, Any]
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3mVn3rP1m0bJ3hJ0G4k4c1Zc8mWqz3mS9yJ8kT0Q1b"
VARIANTS = ("closed", "opened", "six", "from_s3", "kept", "cluster")


@pytest.fixture(params=VARIANTS)
def every(request: pytest.FixtureRequest) -> Synthesised:
    template: Synthesised = request.getfixturevalue(request.param)
    return template


def of_type(template: Synthesised, kind: str) -> list[dict[str, Any]]:
    return [r.get("Properties", {}) for r in template["Resources"].values() if r["Type"] == kind]


def ingress(template: Synthesised) -> list[dict[str, Any]]:
    inline = [
        r for group in of_type(template, "AWS::EC2::SecurityGroup") for r in group.get("SecurityGroupIngress", [])
    ]
    return inline + of_type(template, "AWS::EC2::SecurityGroupIngress")


def box_data(template: Synthesised) -> dict[str, Any]:
    data: dict[str, Any] = template["Resources"]["BoxTemplate"]["Properties"]["LaunchTemplateData"]
    return data


def test_no_port_is_open_by_default(closed: Synthesised) -> None:
    assert ingress(closed) == []


def test_only_port_22_is_open_to_one_ipv4_address(opened: Synthesised) -> None:
    (rule,) = ingress(opened)
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert rule["CidrIp"] == "203.0.113.7/32"


def test_only_port_22_is_open_to_one_ipv6_address(six: Synthesised) -> None:
    (rule,) = ingress(six)
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert rule["CidrIpv6"] == "2001:db8::7/128"


WIDE = {"ssh_from": "10.0.0.0/24", "public_key": OTHER_KEY, "i_know_that_ssh_is_open_to_many_addresses": "true"}


def test_a_door_that_is_open_to_many_says_so_in_its_rule(synthesise: Any) -> None:
    (rule,) = ingress(synthesise(**WIDE))
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert rule["CidrIp"] == "10.0.0.0/24"
    assert re.fullmatch(r"DANGER: SSH FROM 256 ADDRESSES[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]*", rule["Description"])
    assert len(rule["Description"]) <= 255


def test_a_door_that_is_open_to_many_is_shouted_about_at_synthesis(build: Any, tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    stack = build(app, **WIDE)
    shouted = Match.string_like_regexp(r"PORT 22 IS OPEN TO 256 ADDRESSES \(10\.0\.0\.0/24\)")
    Annotations.from_stack(stack).has_warning("*", shouted)


def test_a_door_for_one_is_not_shouted_about(build: Any, tmp_path: Path) -> None:
    stack = build(App(outdir=str(tmp_path)), ssh_from="203.0.113.7/32", public_key=OTHER_KEY)
    Annotations.from_stack(stack).has_no_warning("*", Match.string_like_regexp("PORT 22"))


def test_nothing_may_enter_from_everywhere(every: Synthesised) -> None:
    assert not {"0.0.0.0/0", "::/0"} & {rule.get(key) for rule in ingress(every) for key in ("CidrIp", "CidrIpv6")}


def test_the_box_leaves_by_ports_80_and_443_only(every: Synthesised) -> None:
    groups = [group for group in of_type(every, "AWS::EC2::SecurityGroup") if "between the boxes" not in str(group)]
    rules = [rule for group in groups for rule in group["SecurityGroupEgress"]]
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in rules} == {
        ("tcp", 80, 80),
        ("tcp", 443, 443),
    }


def test_a_box_reached_over_ipv6_still_gets_an_ipv4_address_to_fetch_packages(six: Synthesised) -> None:
    subnets = of_type(six, "AWS::EC2::Subnet")
    assert all(subnet["MapPublicIpOnLaunch"] and subnet["AssignIpv6AddressOnCreation"] for subnet in subnets)


def test_no_nat_gateway_and_no_egress_only_gateway_runs_up_a_bill(every: Synthesised) -> None:
    assert not of_type(every, "AWS::EC2::NatGateway") + of_type(every, "AWS::EC2::EgressOnlyInternetGateway")


def test_the_default_security_group_admits_nobody(every: Synthesised) -> None:
    Template.from_json(every).resource_count_is("Custom::VpcRestrictDefaultSG", 1)


def test_metadata_needs_a_token_and_stays_on_the_box(every: Synthesised) -> None:
    assert box_data(every)["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def test_the_volume_is_encrypted_and_deleted_with_the_instance(every: Synthesised) -> None:
    (device,) = box_data(every)["BlockDeviceMappings"]
    assert device["Ebs"] == {"Encrypted": True, "DeleteOnTermination": True, "VolumeType": "gp3", "VolumeSize": 100}


def test_the_key_of_the_owner_is_there_only_when_the_port_is(closed: Synthesised, opened: Synthesised) -> None:
    (key,) = of_type(opened, "AWS::EC2::KeyPair")
    assert box_data(opened)["KeyName"] == key["KeyName"]
    assert "KeyName" not in box_data(closed) and not of_type(closed, "AWS::EC2::KeyPair")


def test_the_comment_of_the_key_stays_on_the_laptop(opened: Synthesised) -> None:
    assert "me@laptop" not in json.dumps(opened)


def test_another_key_gets_another_name(opened: Synthesised, six: Synthesised, synthesise: Any) -> None:
    other = synthesise(ssh_from="203.0.113.7/32", public_key=OTHER_KEY)
    names = [of_type(template, "AWS::EC2::KeyPair")[0]["KeyName"] for template in (opened, six, other)]
    assert names[0] == names[1] != names[2]


def test_the_bucket_is_not_public(every: Synthesised) -> None:
    Template.from_json(every).all_resources_properties(
        "AWS::S3::Bucket",
        {
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            }
        },
    )


def test_the_bucket_refuses_what_is_not_tls(every: Synthesised) -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    Template.from_json(every).has_resource_properties(
        "AWS::S3::BucketPolicy", {"PolicyDocument": {"Statement": Match.array_with([Match.object_like(deny)])}}
    )


def test_the_topic_refuses_what_is_not_tls(opened: Synthesised) -> None:
    deny = {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    Template.from_json(opened).has_resource_properties(
        "AWS::SNS::TopicPolicy", {"PolicyDocument": {"Statement": Match.array_with([Match.object_like(deny)])}}
    )


@pytest.mark.parametrize(
    "secret", ["PRIVATE KEY", "AKIA", "ASIA", "aws_secret", "SECRET_ACCESS", "password", "Password"]
)
def test_no_secret_is_in_the_template_or_its_user_data(every: Synthesised, secret: str) -> None:
    assert secret not in json.dumps(every)
