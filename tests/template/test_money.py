"""Invariant I1: one spot box at most, below the price, ended from outside at the deadline."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from aws_cdk.assertions import Template

Synthesised = dict[str, Any]


def group(template: Synthesised) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"]["BoxGroup"]["Properties"]
    return properties


def distribution(template: Synthesised) -> dict[str, Any]:
    found: dict[str, Any] = group(template)["MixedInstancesPolicy"]["InstancesDistribution"]
    return found


def test_the_group_holds_none_or_one(closed: Synthesised) -> None:
    assert (group(closed)["MinSize"], group(closed)["DesiredCapacity"], group(closed)["MaxSize"]) == ("0", "1", "1")


def test_every_instance_is_spot(closed: Synthesised) -> None:
    found = distribution(closed)
    assert (found["OnDemandBaseCapacity"], found["OnDemandPercentageAboveBaseCapacity"]) == (0, 0)
    assert found["SpotAllocationStrategy"] == "price-capacity-optimized"


def test_no_instance_costs_more_than_the_highest_price(closed: Synthesised) -> None:
    assert distribution(closed)["SpotMaxPrice"] == {"Ref": "MaxPricePerHour"}
    assert closed["Parameters"]["MaxPricePerHour"]["Default"] == "0.526"


@pytest.mark.parametrize("name", ["StopAt", "MaxPricePerHour", "CeilingUsd"])
def test_every_limit_is_kept_and_shown_as_it_is_kept(closed: Synthesised, name: str) -> None:
    """A parameter, because the CDK CLI keeps its value: what a later synthesis says is only a default."""
    parameter = closed["Parameters"][name]
    assert re.fullmatch(parameter["AllowedPattern"], parameter["Default"]) and parameter["Description"]
    assert closed["Outputs"][name]["Value"] == {"Ref": name}


def test_limits_that_are_not_applied_are_told(synthesise: Any) -> None:
    template = synthesise(max_usd="1.50", max_price_per_hour="0.5")
    assert template["Conditions"]["LimitsDiffer"] == {
        "Fn::Not": [
            {
                "Fn::And": [
                    {"Fn::Equals": [{"Ref": "MaxPricePerHour"}, "0.5"]},
                    {"Fn::Equals": [{"Ref": "CeilingUsd"}, "1.50"]},
                ]
            }
        ]
    }
    assert template["Outputs"]["Kept"]["Condition"] == "LimitsDiffer"
    assert "signspot extend" in template["Outputs"]["Kept"]["Value"]


@pytest.mark.parametrize("price", ["0.526", "2.5"])
def test_a_limit_of_money_is_written_without_an_exponent(synthesise: Any, price: str) -> None:
    parameters = synthesise(max_price_per_hour=price, max_usd="1000")["Parameters"]
    assert parameters["MaxPricePerHour"]["Default"] == price


def test_every_fallback_type_is_offered_in_order(synthesise: Any) -> None:
    template = synthesise(instance_types='["g4dn.xlarge", "g5.xlarge"]')
    offered = group(template)["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
    assert offered == [{"InstanceType": "g4dn.xlarge"}, {"InstanceType": "g5.xlarge"}]


def test_two_boxes_never_overlap_by_rebalancing(closed: Synthesised) -> None:
    assert group(closed)["CapacityRebalance"] is False
    assert group(closed)["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 0, "MaxHealthyPercentage": 100}


def test_powering_off_is_terminating(closed: Synthesised) -> None:
    data = closed["Resources"]["BoxTemplate"]["Properties"]["LaunchTemplateData"]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_the_group_goes_to_zero_at_the_deadline(closed: Synthesised) -> None:
    Template.from_json(closed).has_resource_properties(
        "AWS::AutoScaling::ScheduledAction",
        {
            "AutoScalingGroupName": {"Ref": "BoxGroup"},
            "StartTime": {"Ref": "StopAt"},
            "Recurrence": "*/5 * * * *",
            "MinSize": 0,
            "MaxSize": 0,
            "DesiredCapacity": 0,
        },
    )


def test_the_deadline_is_now_plus_max_hours_when_that_is_less(synthesise: Any) -> None:
    """Less three minutes: the scheduled action may be late."""
    assert synthesise(max_hours="2.5")["Parameters"]["StopAt"]["Default"] == "2030-01-01T14:27:00Z"


def test_the_deadline_is_what_the_dollars_buy_when_that_is_less(synthesise: Any) -> None:
    parameters = synthesise(max_usd="1.50", max_price_per_hour="0.5")["Parameters"]
    assert parameters["StopAt"]["Default"] == "2030-01-01T14:57:00Z"
    assert parameters["CeilingUsd"]["Default"] == "1.50"


def test_everything_to_find_the_run_again_is_an_output(opened: Synthesised) -> None:
    wanted = {"Run", "Bucket", "Group", "Role", "StopAt", "CeilingUsd", "MaxPricePerHour", "Topic"}
    assert wanted <= set(opened["Outputs"])


def test_nobody_is_told_unless_there_is_an_address(closed: Synthesised) -> None:
    kinds = {resource["Type"] for resource in closed["Resources"].values()}
    assert not [kind for kind in kinds if kind.startswith(("AWS::SNS", "AWS::Budgets"))]


def test_an_address_alone_makes_no_budget(synthesise: Any) -> None:
    assert "MonthlyBudget" not in synthesise(email="you@example.org")["Resources"]


def test_a_budget_counts_the_whole_account_and_tells_four_times(opened: Synthesised) -> None:
    budget = opened["Resources"]["MonthlyBudget"]["Properties"]
    assert budget["Budget"] == {
        "BudgetLimit": {"Amount": 20, "Unit": "USD"},
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
    }
    told = [(one["Notification"], one["Subscribers"]) for one in budget["NotificationsWithSubscribers"]]
    assert {(n["NotificationType"], n["Threshold"]) for n, _ in told} == {
        ("ACTUAL", 50),
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    }
    assert all(s == [{"Address": "you@example.org", "SubscriptionType": "EMAIL"}] for _, s in told)


def test_a_budget_of_the_run_alone_counts_its_tag(synthesise: Any) -> None:
    template = synthesise(email="you@example.org", monthly_budget_usd="20", budget_of_run_only="true")
    budget = template["Resources"]["MonthlyBudget"]["Properties"]["Budget"]
    assert budget["CostFilters"] == {"TagKeyValue": ["user:signspot:run$demo"]}


def test_redeploying_does_not_start_a_finished_run_again(closed: Synthesised) -> None:
    policy = closed["Resources"]["BoxGroup"]["UpdatePolicy"]
    assert policy == {"AutoScalingScheduledAction": {"IgnoreUnmodifiedGroupSizeProperties": True}}


def test_the_deploy_waits_for_no_signal(closed: Synthesised) -> None:
    assert all("CreationPolicy" not in resource for resource in closed["Resources"].values())


def test_nothing_keeps_an_instance_from_ending(opened: Synthesised) -> None:
    text = json.dumps(opened)
    assert "NewInstancesProtectedFromScaleIn" not in text and "DisableApiTermination" not in text
    assert "LifecycleHook" not in text


def test_the_group_goes_before_the_bucket_is_emptied(closed: Synthesised) -> None:
    emptier = [k for k, r in closed["Resources"].items() if r["Type"] == "Custom::S3AutoDeleteObjects"]
    assert {*emptier, "RunBucket"} <= set(closed["Resources"]["BoxGroup"]["DependsOn"])


def test_instances_and_volumes_carry_the_run_as_a_tag(closed: Synthesised) -> None:
    tag = {"Key": "signspot:run", "Value": "demo"}
    data = closed["Resources"]["BoxTemplate"]["Properties"]["LaunchTemplateData"]
    tagged = {spec["ResourceType"] for spec in data["TagSpecifications"] if tag in spec["Tags"]}
    assert tagged == {"instance", "volume"}
    assert {**tag, "PropagateAtLaunch": True} in group(closed)["Tags"]


def test_no_helper_function_can_leave_a_log_group_behind(closed: Synthesised) -> None:
    lambdas = [
        r["Properties"]["Role"]["Fn::GetAtt"][0]
        for r in closed["Resources"].values()
        if r["Type"] == "AWS::Lambda::Function"
    ]
    assert len(lambdas) == 2
    assert all(closed["Resources"][role]["Properties"]["ManagedPolicyArns"] == [] for role in lambdas)
    assert "logs:" not in json.dumps(closed)
