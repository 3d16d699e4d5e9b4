"""The commands with a cluster: wherever one group is ended, counted, started or proved gone, both are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.cost import receipt_of
from cli.destroy import Plan, destroy_run
from cli.extend import look_up
from cli.fetch import stack_outputs
from cli.ls import list_runs
from cli.main import app
from cli.preflight import account as preflight
from cli.preflight.facts import Facts
from cli.preflight.finding import Verdict
from cli.status import report_on
from contract.layout import RunLayout
from contract.status import Event, Machine, Phase
from rehearsal.aws import EmulatedAws
from tests.cli.account import Account
from tests.cli.runs import CLUSTER, NOW, deploy, template

WORKERS = 3


class Cluster(Account):
    def deploy(self, run: str = "demo") -> str:
        """Returns the id of its head."""
        self.buckets[run] = deploy(self.aws, run, template(run, golden=CLUSTER))["AWS::S3::Bucket"]
        self.outputs = stack_outputs(self.aws.client("cloudformation"), run)
        (head,) = self.members("Group")
        self.box_says(Phase.TRAINING, run=run, instance=head, made=44, saved=44)
        return head

    def groups(self) -> dict[str, dict[str, Any]]:
        found = self.aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        by_name = {one["AutoScalingGroupName"]: dict(one) for one in found}
        return {name: by_name[self.outputs[name]] for name in ("Group", "Workers") if self.outputs[name] in by_name}

    def wanted(self) -> dict[str, tuple[int, int, int]]:
        return {name: (one["MinSize"], one["MaxSize"], one["DesiredCapacity"]) for name, one in self.groups().items()}

    def members(self, group: str) -> list[str]:
        return [one["InstanceId"] for one in self.groups()[group]["Instances"]]


UP = {"Group": (0, 1, 1), "Workers": (0, WORKERS, WORKERS)}
DOWN = {"Group": (0, 0, 0), "Workers": (0, 0, 0)}


@pytest.fixture
def cluster(emulated: EmulatedAws, at_a_laptop: None) -> Iterator[Cluster]:
    cluster = Cluster(emulated)
    cluster.deploy()
    yield cluster
    cluster.clear()


def test_a_deploy_starts_one_head_and_the_workers(cluster: Cluster) -> None:
    assert cluster.wanted() == UP
    assert len(cluster.living("demo")) == 1 + WORKERS


def test_stop_ends_both_groups(cluster: Cluster) -> None:
    report = cluster.stop(now=True)
    assert cluster.wanted() == DOWN and not cluster.living("demo")
    assert len(report.runs[0].groups) == 2 and len(report.runs[0].instances) == 1 + WORKERS


def test_stop_all_ends_both_groups(cluster: Cluster) -> None:
    cluster.stop_all(now=True)
    assert cluster.wanted() == DOWN and not cluster.living("demo")


def test_workers_that_live_on_keep_stop_from_saying_that_nothing_does(cluster: Cluster) -> None:
    """As when the head was lost, and only its group is at 0."""
    autoscaling = cluster.aws.client("autoscaling")
    size: Any = {"MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0}
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=cluster.outputs["Group"], **size)
    listed = {row.run: row for row in list_runs(cluster.client, datetime.now(UTC)).runs}
    assert listed["demo"].desired == WORKERS and len(listed["demo"].instances) == WORKERS
    report = report_on(cluster.client, cluster.outputs, "demo", datetime.now(UTC))
    assert report.live and report.live.desired == WORKERS and not report.live.empty and report.ending is None
    cluster.stop(now=True)
    assert cluster.wanted() == DOWN and not cluster.living("demo")


def test_status_tells_of_an_end_only_when_both_groups_are_at_zero(cluster: Cluster) -> None:
    cluster.stop(now=True)
    report = report_on(cluster.client, cluster.outputs, "demo", datetime.now(UTC))
    assert report.live and report.live.empty
    assert report.ending and "every group is at 0" in report.ending.message


def test_restart_starts_both_groups_again(cluster: Cluster) -> None:
    cluster.stop(now=True)
    shown = CliRunner().invoke(app, ["restart", "demo", "--yes"])
    assert shown.exit_code == 0, shown.output
    assert cluster.wanted() == UP
    assert "all of it at most $5.00" in shown.output


def test_restart_brings_back_workers_that_have_left_for_good(cluster: Cluster) -> None:
    size: Any = {"MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0}
    cluster.aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=cluster.outputs["Workers"], **size)
    head = cluster.members("Group")
    shown = CliRunner().invoke(app, ["restart", "demo", "--yes"])
    assert shown.exit_code == 0, shown.output
    assert cluster.wanted() == UP and cluster.members("Group") == head


@pytest.mark.parametrize("group", ["Group", "Workers"])
def test_no_group_is_started_whose_killer_is_gone(cluster: Cluster, group: str) -> None:
    cluster.stop(now=True)
    autoscaling = cluster.aws.client("autoscaling")
    name = cluster.outputs[group]
    (action,) = autoscaling.describe_scheduled_actions(AutoScalingGroupName=name)["ScheduledUpdateGroupActions"]
    autoscaling.delete_scheduled_action(AutoScalingGroupName=name, ScheduledActionName=action["ScheduledActionName"])
    shown = CliRunner().invoke(app, ["restart", "demo", "--yes"])
    assert "nothing outside the box would end" in str(shown.exception) and name in shown.exception.mend  # type: ignore[union-attr]
    assert cluster.wanted() == DOWN and not cluster.living("demo")


def test_an_hour_more_is_an_hour_of_every_box(cluster: Cluster) -> None:
    found = look_up(cluster.aws.client("cloudformation"), "demo")
    assert (found.ceiling.boxes, found.ceiling.head_type) == (WORKERS, "m5a.large")
    assert list(found.groups.values()) == [1, WORKERS]
    longer = found.ceiling.extended(1, found.ceiling.stop_at - timedelta(hours=1))
    assert float(longer.usd - found.ceiling.usd) == pytest.approx(WORKERS * 0.526 + 0.086, abs=0.01)


def test_another_number_of_boxes_is_another_run(cluster: Cluster) -> None:
    """The kept end was counted for so many."""
    found = {
        boxes: next(iter(preflight.look_at_run(cluster.client, "demo", boxes, Facts()))) for boxes in (1, WORKERS, 5)
    }
    assert [found[boxes].verdict for boxes in found] == [Verdict.BAD, Verdict.GOOD, Verdict.BAD]
    assert "-c boxes=3" in found[1].mend


def test_a_run_of_one_box_does_not_become_a_cluster(emulated: EmulatedAws, at_a_laptop: None) -> None:
    account = Account(emulated)
    account.deploy()
    (found,) = preflight.look_at_run(account.client, "demo", 2, Facts())
    account.clear()
    assert found.verdict is Verdict.BAD and "deployed with 1 box" in found.text


def test_the_receipt_counts_the_head_at_its_own_price(cluster: Cluster) -> None:
    (head,), worker = cluster.members("Group"), cluster.members("Workers")[0]
    s3, layout = cluster.aws.client("s3"), RunLayout("demo")
    for instance, kind, type_ in ((head, "booting", "m5a.large"), (worker, "joined", "g4dn.xlarge")):
        machine = Machine(type=type_, zone="us-east-1a", launched=NOW, volume_gb=100)
        event = Event(time=NOW, kind=kind, instance=instance, machine=machine)
        body = event.model_dump_json()
        s3.put_object(Bucket=cluster.buckets["demo"], Key=layout.event("1", instance), Body=body)
    receipt = receipt_of(cluster.client, "demo", datetime.now(UTC), outputs=cluster.outputs)
    prices = {one.instance: one.usd_per_hour for one in receipt.attempts}
    assert prices[head] == pytest.approx(0.086)
    assert prices[worker] != pytest.approx(0.086)


def test_destroy_leaves_nothing_of_either(cluster: Cluster, tmp_path: Path) -> None:
    out = io.StringIO()
    plan, patience = Plan("demo", tmp_path, discard=True), cluster.clock.patience()
    destroyed = destroy_run(cluster.client, cluster.client, plan, Console(file=out, width=200), patience)
    assert destroyed.left == () and not cluster.groups() and not cluster.living("demo"), out.getvalue()
