"""`signspot restart`: a run that was stopped goes on; every other one is refused with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from contract.layout import RunLayout
from contract.status import Phase
from rehearsal.aws import EmulatedAws
from tests.cli import schemas
from tests.cli.account import Account


@pytest.fixture
def account(emulated: EmulatedAws, at_a_laptop: None) -> Iterator[Account]:
    """With a run that was stopped at step 47."""
    account = Account(emulated)
    box = account.deploy()
    account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=47)
    account.stop()
    yield account
    account.clear()


def restart(*words: str, answer: str = "") -> Any:
    return CliRunner().invoke(app, ["restart", "demo", *words], input=answer)


def refusal(account: Account, *words: str) -> str:
    shown = restart("--yes", *words)
    assert shown.exit_code
    assert account.sizes()["demo"][2] == 0 and not account.living("demo"), "nothing may run"
    return str(shown.exception)


def test_it_goes_on_with_one_box_and_without_the_request(account: Account) -> None:
    asked = account.request()
    shown = restart("--yes")
    assert shown.exit_code == 0, shown.output
    assert account.sizes()["demo"] == (0, 1, 1)
    assert len(account.living("demo")) == 1
    lifted = account.request()
    assert asked and lifted and not lifted.stands and lifted.asked_at == asked.asked_at
    assert "goes on from step 47, until 2030-01-01 19:57 UTC" in shown.output
    assert "at most $4.21; all of it at most $4.21" in shown.output
    (action,) = account.aws.client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    assert (action["MaxSize"], action["Recurrence"]) == (0, "*/5 * * * *"), "the killer outside the box stands"


def test_it_asks_first(account: Account) -> None:
    assert restart(answer="n\n").exit_code == 1
    assert account.sizes()["demo"] == (0, 0, 0)
    request = account.request()
    assert request and request.stands
    assert restart(answer="y\n").exit_code == 0
    assert account.sizes()["demo"] == (0, 1, 1)


def test_twice_does_no_harm(account: Account) -> None:
    restart("--yes")
    boxes = account.living("demo")
    again = restart()
    assert again.exit_code == 0, again.output
    assert "runs already" in again.output
    assert account.living("demo") == boxes


def test_json_is_what_its_schema_says(account: Account) -> None:
    found = schemas.check("restart", restart("--yes", "--json").stdout)
    assert (found["run"], found["already"], found["step"], found["usd_left"]) == ("demo", False, 47, "4.21")


@pytest.mark.parametrize(
    ("phase", "next_step"),
    [(Phase.DONE, "signspot fetch demo"), (Phase.FAILED, "signspot logs demo"), (Phase.EXPIRED, "signspot fetch demo")],
)
def test_a_run_that_is_over_is_refused(account: Account, phase: Phase, next_step: str) -> None:
    account.box_says(phase, instance="i-1", made=47, saved=47)
    text = refusal(account)
    assert f"run 'demo' is {phase} and cannot go on" in text
    assert next_step in text


def test_a_run_that_is_being_stopped_is_refused(account: Account) -> None:
    """Else the box that has heard the request would leave, and take the group to 0 with it."""
    account.aws.client("autoscaling").update_auto_scaling_group(
        AutoScalingGroupName=account.stop().runs[0].groups[0], MaxSize=1, DesiredCapacity=1
    )
    shown = restart("--yes")
    assert "was asked to stop and its group is not at 0 yet" in str(shown.exception)
    assert "signspot stop demo, then signspot restart demo" in str(shown.exception)
    request = account.request()
    assert request and request.stands


def test_while_the_old_box_lives_no_second_one_is_started(account: Account) -> None:
    """The group is at 0, as after Ctrl-C, or by the killer outside: its instance still saves."""
    tags: Any = [{"ResourceType": "instance", "Tags": [{"Key": "signspot:run", "Value": "demo"}]}]
    made = account.aws.client("ec2").run_instances(
        ImageId=account.aws.ami, MinCount=1, MaxCount=1, TagSpecifications=tags
    )
    old = made["Instances"][0]["InstanceId"]
    shown = restart("--yes")
    assert f"{old} (running); no second one is started" in str(shown.exception)
    assert "signspot stop demo waits for its end; then signspot restart demo" in str(shown.exception)
    assert account.sizes()["demo"] == (0, 0, 0) and account.living("demo") == [old]
    request = account.request()
    assert request and request.stands, "or the old box would not hear it"
    account.aws.client("ec2").terminate_instances(InstanceIds=[old])
    assert restart("--yes").exit_code == 0


@pytest.mark.parametrize(("minutes", "word"), [(9, "in less than 10 minutes"), (-60, "that has passed")])
def test_a_run_without_time_is_refused_and_told_how_to_have_more(
    account: Account, monkeypatch: pytest.MonkeyPatch, minutes: int, word: str
) -> None:
    stop_at = datetime(2030, 1, 1, 19, 57, tzinfo=UTC)
    monkeypatch.setattr("contract.ceiling.parsedate_to_datetime", lambda _: stop_at - timedelta(minutes=minutes))
    text = refusal(account)
    assert word in text
    assert "signspot extend demo --hours 2, then signspot restart demo" in text


def test_what_is_left_costs_at_most_the_time_that_is_left(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at = datetime(2030, 1, 1, 19, 57, tzinfo=UTC)
    monkeypatch.setattr("contract.ceiling.parsedate_to_datetime", lambda _: stop_at - timedelta(minutes=61))
    assert "at most $0.54; all of it at most $4.21" in restart("--yes").output


def test_a_run_that_nothing_would_end_is_not_started(account: Account) -> None:
    autoscaling = account.aws.client("autoscaling")
    (action,) = autoscaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    names = {name: action[name] for name in ("AutoScalingGroupName", "ScheduledActionName")}
    autoscaling.delete_scheduled_action(**names)
    text = refusal(account)
    assert "its scheduled action is gone" in text
    assert f"--auto-scaling-group-name {action['AutoScalingGroupName']} --start-time 2030-01-01T19:57:00Z" in text
    for late in ({"MaxSize": 1}, {"StartTime": datetime(2031, 1, 1, tzinfo=UTC)}, {"Recurrence": None}):
        given = {
            "StartTime": datetime(2030, 1, 1, 19, 57, tzinfo=UTC),
            "Recurrence": "*/5 * * * *",
            "MinSize": 0,
            "MaxSize": 0,
            "DesiredCapacity": 0,
        } | late
        kept = {name: value for name, value in given.items() if value is not None}
        autoscaling.put_scheduled_update_group_action(**names, **kept)
        assert "its scheduled action is gone" in refusal(account)


def test_a_request_that_cannot_be_lifted_starts_nothing(account: Account) -> None:
    """A box would find it, leave, and have cost something for nothing."""
    account.aws.fault = lambda environ: (
        (403, {}, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(RunLayout("demo").stop)
        else None
    )
    assert "stop.json cannot be written" in refusal(account)


def test_a_run_of_before_that_was_never_asked_starts_as_well(account: Account) -> None:
    account.aws.client("s3").delete_object(Bucket=account.buckets["demo"], Key=RunLayout("demo").stop)
    assert restart("--yes").exit_code == 0
    assert account.request() is None
    assert account.sizes()["demo"] == (0, 1, 1)


def test_a_request_that_cannot_be_read_is_told(account: Account) -> None:
    s3 = account.aws.client("s3")
    s3.put_object(Bucket=account.buckets["demo"], Key=RunLayout("demo").stop, Body=b"{")
    assert "stop.json is not what it should be" in refusal(account)


def test_a_run_that_is_not_there(account: Account) -> None:
    shown = CliRunner().invoke(app, ["restart", "dmeo", "--yes"])
    assert "there is no run 'dmeo'" in str(shown.exception)
