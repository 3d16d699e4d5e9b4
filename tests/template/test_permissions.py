"""The box may touch its own prefixes and its own group, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from infra import permissions_page as page

Synthesised = dict[str, Any]


def box(template: Synthesised) -> dict[str, dict[str, Any]]:
    return {statement["Sid"]: statement for statement in page.statements(template) if "Sid" in statement}


def test_only_ec2_may_assume_the_role(closed: Synthesised) -> None:
    (trust,) = closed["Resources"]["BoxRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}


def test_the_role_has_no_managed_policy(opened: Synthesised) -> None:
    assert "ManagedPolicyArns" not in opened["Resources"]["BoxRole"]["Properties"]


def test_the_role_holds_exactly_the_known_statements(closed: Synthesised) -> None:
    assert set(box(closed)) == {"ReadCode", "ReadData", "RunObjects", "DropCheckpoints", "ListRun", "EndOwnGroup"}


@pytest.mark.parametrize("sid", ["ReadCode", "ReadData"])
def test_of_the_assets_only_one_object_can_be_read(closed: Synthesised, sid: str) -> None:
    statement = box(closed)[sid]
    assert statement["Action"] == "s3:GetObject"
    assert statement["Resource"].startswith("arn:<AWS::Partition>:s3:::cdk-")
    assert statement["Resource"].endswith(".zip") and "*" not in statement["Resource"]


def test_data_in_s3_is_read_and_listed_below_its_prefix_only(from_s3: Synthesised) -> None:
    statements = box(from_s3)
    assert statements["ReadData"]["Resource"] == "arn:<AWS::Partition>:s3:::your-bucket/signs/*"
    assert statements["ListData"]["Resource"] == "arn:<AWS::Partition>:s3:::your-bucket"
    assert statements["ListData"]["Condition"] == {"StringLike": {"s3:prefix": "signs/*"}}


def test_objects_are_read_and_written_below_the_own_run_only(closed: Synthesised) -> None:
    statement = box(closed)["RunObjects"]
    assert statement["Action"] == ["s3:GetObject", "s3:PutObject"]
    assert statement["Resource"] == "<RunBucket.Arn>/runs/demo/*"


def test_only_checkpoints_can_be_deleted(closed: Synthesised) -> None:
    deleting = [s for s in box(closed).values() if "Delete" in str(s["Action"])]
    assert [s["Resource"] for s in deleting] == ["<RunBucket.Arn>/runs/demo/checkpoints/*"]


def test_a_deleted_checkpoint_keeps_its_versions(closed: Synthesised) -> None:
    assert "s3:DeleteObjectVersion" not in str(box(closed))


def test_only_the_own_run_can_be_listed(closed: Synthesised) -> None:
    statement = box(closed)["ListRun"]
    assert (statement["Action"], statement["Resource"]) == ("s3:ListBucket", "<RunBucket.Arn>")
    assert statement["Condition"] == {"StringLike": {"s3:prefix": "runs/demo/*"}}


def test_only_the_own_group_can_be_ended(closed: Synthesised) -> None:
    statement = box(closed)["EndOwnGroup"]
    assert statement["Action"] == "autoscaling:TerminateInstanceInAutoScalingGroup"
    assert statement["Resource"].endswith(":autoScalingGroup:*:autoScalingGroupName/<BoxGroup>")


def test_the_group_exists_before_the_policy_that_names_it_and_after_all_others(closed: Synthesised) -> None:
    policies = {k: r for k, r in closed["Resources"].items() if r["Type"] == "AWS::IAM::Policy"}
    first = set(policies) & set(closed["Resources"]["BoxGroup"]["DependsOn"])
    assert len(policies) == 2 and len(first) == 1
    assert "EndOwnGroup" not in str(policies[first.pop()])


def test_no_statement_touches_instances_by_ec2(opened: Synthesised) -> None:
    assert "ec2:" not in str(box(opened))


def test_publishing_goes_to_the_own_topic_only(opened: Synthesised) -> None:
    assert box(opened)["Notify"]["Resource"] == "<NotifyTopic>"


@pytest.mark.parametrize("variant", ["closed", "opened", "six", "from_s3", "kept", "cluster"])
def test_no_statement_allows_anything_on_every_resource(variant: str, request: pytest.FixtureRequest) -> None:
    for statement in page.statements(request.getfixturevalue(variant)):
        assert "*" not in page.values(statement, "Resource"), statement


def test_no_statement_of_the_box_allows_every_action_of_a_service(opened: Synthesised) -> None:
    assert not [a for s in box(opened).values() for a in page.values(s, "Action") if "*" in a]


def test_the_permissions_page_is_the_one_the_template_gives() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run: python -m infra.permissions_page"
