"""`signspot ls`: every run of ours in the account, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.ls import Listing, list_runs
from cli.main import app
from contract.layout import RunLayout
from contract.status import Event, Machine, Phase
from rehearsal.aws import EmulatedAws
from tests.cli import schemas
from tests.cli.account import Account, foreign
from tests.cli.runs import NOW


@pytest.fixture
def account(emulated: EmulatedAws, at_a_laptop: None) -> Iterator[Account]:
    account = Account(emulated)
    yield account
    account.clear()


def listing(account: Account) -> Listing:
    return list_runs(account.aws.client, NOW + timedelta(minutes=3))


def typed(*words: str) -> Any:
    return CliRunner().invoke(app, ["ls", *words], env={"COLUMNS": "200"})


def test_no_run_is_told(account: Account) -> None:
    foreign(account)
    shown = typed()
    assert (shown.exit_code, shown.output) == (0, "no run of ours in us-east-1 of this account\n")
    assert schemas.check("ls", typed("--json").stdout) == {"region": "us-east-1", "runs": []}


def test_each_run_has_its_line(account: Account) -> None:
    boxes = {run: account.deploy(run) for run in ("one", "two")}
    account.box_says(Phase.INTERRUPTED, run="two", instance=boxes["two"], made=47, saved=47)
    account.stop("two")
    shown = typed()
    assert shown.exit_code == 0, shown.output
    first, second = (line for line in shown.output.splitlines() if "one" in line or "two" in line)
    assert "training" in first and "44/100" in first and boxes["one"] in first
    assert "stopped" in second and "47/100" in second and boxes["two"] not in second
    assert "4.21" in first and "01-01 19:57" in first
    found = schemas.check("ls", typed("--json").stdout)
    assert [(row["run"], row["phase"], row["desired"]) for row in found["runs"]] == [
        ("one", "training", 1),
        ("two", "interrupted", 0),
    ]


def test_the_newest_checkpoints_age_and_the_dollars_so_far(account: Account) -> None:
    box = account.deploy()
    s3, key = account.aws.client("s3"), RunLayout("demo").status
    status = json.loads(s3.get_object(Bucket=account.buckets["demo"], Key=key)["Body"].read())
    body = json.dumps(status | {"checkpoint_time": NOW.isoformat()})
    s3.put_object(Bucket=account.buckets["demo"], Key=key, Body=body)
    machine = Machine(type="g4dn.xlarge", zone="us-east-1a", launched=NOW, volume_gb=100)
    event = Event(time=NOW, kind="booting", instance=box, machine=machine)
    s3.put_object(Bucket=account.buckets["demo"], Key=RunLayout("demo").event("1", "x"), Body=event.model_dump_json())
    (row,) = listing(account).runs
    assert row.checkpoint_age_seconds == 180
    assert (row.checkpoint_step, row.usd_at_most) == (40, 4.21)
    assert row.usd is not None and row.usd > 0


@pytest.mark.parametrize(
    ("name", "tags"), [("signspot-theirs", []), ("theirs", [("signspot:run", "theirs")]), ("signspot-a", [("x", "a")])]
)
def test_a_stack_that_is_not_ours_is_ignored(account: Account, name: str, tags: list[tuple[str, str]]) -> None:
    body = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    account.aws.client("cloudformation").create_stack(
        StackName=name, TemplateBody=json.dumps(body), Tags=[{"Key": key, "Value": value} for key, value in tags]
    )
    assert listing(account).runs == ()


def test_a_stack_of_ours_that_is_not_made_whole_is_listed(account: Account) -> None:
    body = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    account.aws.client("cloudformation").create_stack(
        StackName="signspot-half",
        TemplateBody=json.dumps(body),
        Tags=[{"Key": "signspot:run", "Value": "half"}],
    )
    (row,) = listing(account).runs
    assert (row.run, row.phase, row.stack) == ("half", "unknown", "CREATE_COMPLETE")
    assert "does not keep its limits" in row.note


def test_what_lives_without_a_stack_is_shouted_about(account: Account) -> None:
    tags: Any = [{"ResourceType": "instance", "Tags": [{"Key": "signspot:run", "Value": "ghost"}]}]
    account.aws.client("ec2").run_instances(ImageId=account.aws.ami, MinCount=1, MaxCount=1, TagSpecifications=tags)
    (row,) = listing(account).runs
    assert (row.run, row.stack, len(row.instances)) == ("ghost", "", 1)
    assert "there is no stack, but something lives" in row.note


def test_a_run_that_s3_does_not_tell_of_is_listed_with_the_reason(account: Account) -> None:
    account.deploy("one")
    account.aws.fault = lambda environ: (
        (403, {}, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        if environ["PATH_INFO"].endswith("status.json")
        else None
    )
    (row,) = listing(account).runs
    assert (row.run, row.phase, row.usd_at_most) == ("one", "unknown", 4.21)
    assert "AccessDenied" in row.note
