"""A cluster: a head on demand and workers on spot; the same money, the same access, and nothing of it with one box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract.cluster import Ports
from infra import permissions_page as page

Synthesised = dict[str, Any]


def of(template: Synthesised, name: str) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"][name]["Properties"]
    return properties


def distribution(template: Synthesised, group: str) -> dict[str, Any]:
    found: dict[str, Any] = of(template, group)["MixedInstancesPolicy"]["InstancesDistribution"]
    return found


def statements(template: Synthesised, role: str) -> dict[str, dict[str, Any]]:
    """By Sid: of the policies that hang on this role."""
    policies = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Policy" and resource["Properties"]["Roles"] == [{"Ref": role}]
    ]
    return {one["Sid"]: page.readable(one) for policy in policies for one in policy["PolicyDocument"]["Statement"]}


# --- money ---------------------------------------------------------------------------------------------


def test_one_head_and_at_most_so_many_workers_as_are_kept(cluster: Synthesised) -> None:
    sizes = {name: of(cluster, name) for name in ("BoxGroup", "WorkerGroup")}
    assert [sizes["BoxGroup"][key] for key in ("MinSize", "DesiredCapacity", "MaxSize")] == ["0", "1", "1"]
    boxes = {"Ref": "Boxes"}
    assert [sizes["WorkerGroup"][key] for key in ("MinSize", "DesiredCapacity", "MaxSize")] == ["0", boxes, boxes]
    assert cluster["Parameters"]["Boxes"]["Default"] == "3"


def test_workers_are_spot_below_the_highest_price(cluster: Synthesised) -> None:
    found = distribution(cluster, "WorkerGroup")
    assert (found["OnDemandBaseCapacity"], found["OnDemandPercentageAboveBaseCapacity"]) == (0, 0)
    assert found["SpotMaxPrice"] == {"Ref": "MaxPricePerHour"}


def test_the_head_is_on_demand_of_the_type_whose_price_is_kept(cluster: Synthesised) -> None:
    found = distribution(cluster, "BoxGroup")
    assert found == {"OnDemandPercentageAboveBaseCapacity": 100}
    offered = of(cluster, "BoxGroup")["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
    assert offered == [{"InstanceType": {"Ref": "HeadType"}}]
    kept = cluster["Parameters"]
    assert (kept["HeadType"]["Default"], kept["HeadPricePerHour"]["Default"]) == ("m5a.large", "0.086")


@pytest.mark.parametrize("group", ["BoxGroup", "WorkerGroup"])
def test_each_group_goes_to_zero_at_the_deadline(cluster: Synthesised, group: str) -> None:
    (action,) = [
        resource["Properties"]
        for resource in cluster["Resources"].values()
        if resource["Type"] == "AWS::AutoScaling::ScheduledAction"
        and resource["Properties"]["AutoScalingGroupName"] == {"Ref": group}
    ]
    assert (action["StartTime"], action["Recurrence"]) == ({"Ref": "StopAt"}, "*/5 * * * *")
    assert [action[key] for key in ("MinSize", "MaxSize", "DesiredCapacity")] == [0, 0, 0]


def test_the_dollars_are_shared_by_all_boxes(synthesise: Any) -> None:
    """Three at 0.5 and a head at 0.1: $1.60 buy an hour, less three minutes for a killer that is late."""
    template = synthesise(boxes="3", job="extract", max_usd="1.60", max_price_per_hour="0.5", head_price_per_hour="0.1")
    assert template["Parameters"]["StopAt"]["Default"] == "2030-01-01T12:57:00Z"
    assert template["Parameters"]["CeilingUsd"]["Default"] == "1.60"
    for name in ("BoxTemplate", "WorkerTemplate"):
        assert (
            "export DEADMAN_MINUTES=60\n"
            in page.readable(of(template, name)["LaunchTemplateData"]["UserData"])["Fn::Base64"]
        )


@pytest.mark.parametrize("group", ["BoxGroup", "WorkerGroup"])
def test_no_group_has_one_box_too_many_and_none_starts_again_by_a_deploy(cluster: Synthesised, group: str) -> None:
    found = of(cluster, group)
    assert found["CapacityRebalance"] is False
    assert found["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 0, "MaxHealthyPercentage": 100}
    policy = cluster["Resources"][group]["UpdatePolicy"]
    assert policy == {"AutoScalingScheduledAction": {"IgnoreUnmodifiedGroupSizeProperties": True}}
    assert {"Key": "signspot:run", "Value": "demo", "PropagateAtLaunch": True} in found["Tags"]
    assert "RunBucket" in cluster["Resources"][group]["DependsOn"]


@pytest.mark.parametrize("name", ["BoxTemplate", "WorkerTemplate"])
def test_every_box_is_locked_as_a_single_one_is(cluster: Synthesised, closed: Synthesised, name: str) -> None:
    mine, single = of(cluster, name)["LaunchTemplateData"], of(closed, "BoxTemplate")["LaunchTemplateData"]
    for key in ("InstanceInitiatedShutdownBehavior", "MetadataOptions", "BlockDeviceMappings", "TagSpecifications"):
        if key == "TagSpecifications":
            wanted = {"Key": "signspot:run", "Value": "demo"}
            assert all(wanted in spec["Tags"] for spec in mine[key]) and len(mine[key]) == len(single[key])
        else:
            assert mine[key] == single[key]


# --- doors ---------------------------------------------------------------------------------------------


def rules(template: Synthesised, kind: str) -> list[dict[str, Any]]:
    found = [r["Properties"] for r in template["Resources"].values() if r["Type"] == f"AWS::EC2::{kind}"]
    return [rule for rule in found if rule["GroupId"] == {"Fn::GetAtt": ["Inside", "GroupId"]}]


@pytest.mark.parametrize(
    ("kind", "other"),
    [("SecurityGroupIngress", "SourceSecurityGroupId"), ("SecurityGroupEgress", "DestinationSecurityGroupId")],
)
def test_boxes_speak_to_one_another_through_rays_ports_alone(cluster: Synthesised, kind: str, other: str) -> None:
    found = rules(cluster, kind)
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in found} == {
        ("tcp", first, last) for first, last in Ports().ranges
    }
    assert all(rule[other] == {"Fn::GetAtt": ["Inside", "GroupId"]} for rule in found)


def test_only_the_head_has_a_door_and_a_key(cluster: Synthesised) -> None:
    head, worker = (of(cluster, name)["LaunchTemplateData"] for name in ("BoxTemplate", "WorkerTemplate"))
    doors = [[one["Fn::GetAtt"][0] for one in data["SecurityGroupIds"]] for data in (head, worker)]
    assert doors == [["Door", "Inside"], ["Wall", "Inside"]]
    assert "KeyName" in head and "KeyName" not in worker
    assert "SecurityGroupIngress" not in of(cluster, "Wall")


def test_no_port_of_ray_is_the_door() -> None:
    assert not [22 for first, last in Ports().ranges if first <= 22 <= last]


# --- roles ---------------------------------------------------------------------------------------------


def test_a_worker_reads_its_run_and_writes_neither_its_status_nor_its_model(cluster: Synthesised) -> None:
    worker = statements(cluster, "WorkerRole")
    assert set(worker) == {
        *("ReadCode", "ReadData", "ReadRun", "WorkerObjects", "DropTrialCheckpoints", "ListRun", "EndOwnGroup"),
    }
    run = "<RunBucket.Arn>/runs/demo"
    assert worker["ReadRun"]["Resource"] == f"{run}/*"
    assert page.values(worker["WorkerObjects"], "Action") == ["s3:PutObject"]
    assert worker["WorkerObjects"]["Resource"] == [f"{run}/{name}/*" for name in ("trials", "events", "logs")]
    assert worker["DropTrialCheckpoints"]["Resource"] == f"{run}/trials/*/checkpoints/*"
    writing = [one for one in worker.values() if {"s3:PutObject", "s3:DeleteObject"} & set(page.values(one, "Action"))]
    assert [one["Sid"] for one in writing] == ["WorkerObjects", "DropTrialCheckpoints"]


def test_each_role_can_end_its_own_group_alone(cluster: Synthesised) -> None:
    for role, group in (("BoxRole", "BoxGroup"), ("WorkerRole", "WorkerGroup")):
        statement = statements(cluster, role)["EndOwnGroup"]
        assert statement["Action"] == "autoscaling:TerminateInstanceInAutoScalingGroup"
        assert statement["Resource"].endswith(f"autoScalingGroupName/<{group}>")


def test_the_head_may_what_a_single_box_may(cluster: Synthesised, closed: Synthesised) -> None:
    assert set(statements(cluster, "BoxRole")) == set(statements(closed, "BoxRole"))


# --- what is started -----------------------------------------------------------------------------------


def test_each_box_is_told_what_it_is(cluster: Synthesised, closed: Synthesised) -> None:
    def module(template: Synthesised, name: str) -> str:
        text = page.readable(of(template, name)["LaunchTemplateData"]["UserData"])["Fn::Base64"]
        lines = [line for line in text.splitlines() if line.startswith("export MODULE=")]
        return "".join(lines).removeprefix("export MODULE=")

    told = [module(cluster, "BoxTemplate"), module(cluster, "WorkerTemplate"), module(closed, "BoxTemplate")]
    assert told == ["bootstrap.head", "bootstrap.worker", ""]


def test_one_box_has_nothing_of_a_cluster(closed: Synthesised, opened: Synthesised) -> None:
    for template in (closed, opened):
        text = json.dumps({**template, "Resources": list(template["Resources"])})
        assert not [word for word in ("Worker", "Inside", "Wall", "Boxes", "Head") if word in text]


def test_ray_is_brought_to_a_cluster_alone(tmp_path: Path) -> None:
    from contract.config import Config, MachineConfig, RunConfig
    from infra.bundle import stage
    from infra.shapes import CLUSTER, HOME

    sweep = tmp_path / "mine.toml"
    sweep.write_text("trials = 2\n")
    run = RunConfig(job="sweep", sweep=str(sweep))
    for name, config in (
        ("one", Config()),
        ("three", CLUSTER),
        ("sweep", Config(run=run, machine=MachineConfig(boxes=2))),
    ):
        stage(HOME, config, tmp_path / name)
    locks = {name: (tmp_path / name / "requirements/ray.txt").exists() for name in ("one", "three", "sweep")}
    assert locks == {"one": False, "three": True, "sweep": True}
    assert (tmp_path / "sweep/sweep.toml").read_text() == "trials = 2\n"
    assert '"sweep": "sweep.toml"' in (tmp_path / "sweep/config.json").read_text()
