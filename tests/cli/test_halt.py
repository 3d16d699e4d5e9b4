"""`signspot stop`: one run, or all of them, to 0, and proven. What is saved before: `test_saving.py`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.halt import find_all, stop_all
from cli.main import app
from contract.errors import CloudError
from contract.status import Phase
from rehearsal.aws import EmulatedAws, Environ, Response
from tests.cli import schemas
from tests.cli.account import Account, foreign

REFUSED: Response = (403, {}, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


@pytest.fixture
def account(emulated: EmulatedAws) -> Iterator[Account]:
    account = Account(emulated)
    yield account
    account.clear()


@pytest.mark.parametrize("everything", [False, True])
def test_a_group_that_is_scaled_up_again_meanwhile_is_braked_again(account: Account, everything: bool) -> None:
    first = account.deploy()
    account.after_the_brake.append(account.scale_up)
    report = account.stop_all(now=True) if everything else account.stop(now=True)
    assert account.is_braked()
    assert account.clock.now <= 10
    (stopped,) = report.runs
    assert first in stopped.instances and len(stopped.instances) == 2


def test_now_asks_nobody(account: Account) -> None:
    account.deploy()
    report = account.stop(now=True)
    assert account.is_braked()
    assert account.request() is None
    assert account.clock.now == 0
    assert (report.runs[0].saved, report.exit_code) == (None, 0)


def test_twice_does_no_harm(account: Account) -> None:
    box = account.deploy()
    account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=47)
    assert account.stop().runs[0].instances == (box,)
    again = account.stop()
    assert (again.runs[0].instances, again.runs[0].step, again.exit_code) == ((), 47, 0)


# --- all of them --------------------------------------------------------------------------------------------


def test_all_asks_all_brakes_all_and_proves_it(account: Account) -> None:
    boxes = {run: account.deploy(run) for run in ("demo", "demo-2")}
    foreign(account)
    account.clock.later.append(
        (8, lambda: account.box_says(Phase.INTERRUPTED, run="demo", instance=boxes["demo"], made=50, saved=50))
    )
    report = account.stop_all()
    assert account.is_braked("demo") and account.is_braked("demo-2")
    assert account.sizes()["signspot-theirs"] == (1, 2, 1)
    assert account.clock.now <= 30 + 5, "all together, not one after the other"
    assert {one.run: (one.saved, one.step) for one in report.runs} == {"demo": (True, 50), "demo-2": (False, 40)}
    assert report.exit_code == 4
    assert "AWS was asked again: no instance of ours lives in us-east-1" in account.told[-1]
    asked_last = max(index for index, call in enumerate(account.calls) if call == "UpdateAutoScalingGroup")
    assert {"DescribeInstances", "DescribeAutoScalingGroups"} <= set(account.calls[asked_last:])


def test_all_now_waits_for_nobody(account: Account) -> None:
    account.deploy()
    account.stop_all(now=True)
    assert account.is_braked()
    assert account.clock.now == 0 and account.request() is None


def test_a_run_that_appears_while_the_others_save_is_braked_too(account: Account) -> None:
    account.deploy()
    account.clock.later.append((8, lambda: account.deploy("demo-2")))
    report = account.stop_all()
    assert account.is_braked("demo") and account.is_braked("demo-2")
    assert {one.run: one.saved for one in report.runs} == {"demo": False, "demo-2": None}


def test_nothing_there_is_told(account: Account) -> None:
    assert account.stop_all().runs == ()
    assert account.told[0].startswith("0 runs have a group or an instance in us-east-1")


def test_one_group_that_aws_refuses_does_not_save_the_others_and_is_named(account: Account) -> None:
    for run in ("demo", "demo-2"):
        account.deploy(run)
    stuck = next(iter(find_all(account.client)["demo"].groups))

    def refuse(environ: Environ) -> Response | None:
        if "/autoscaling/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return None
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        return REFUSED if b"UpdateAutoScalingGroup" in body and stuck.encode() in body else None

    account.aws.fault = refuse
    with pytest.raises(CloudError, match=r"(?s)it costs money.*cannot be set to 0") as caught:
        soon = replace(account.clock.patience(), limit_seconds=60)
        stop_all(account.client, account.client, account.say, soon, now=True)
    assert account.is_braked("demo-2")
    assert f"--auto-scaling-group-name {stuck} --min-size 0" in caught.value.mend
    assert f"terminate-instances --instance-ids {account.living('demo')[0]}" in caught.value.mend


# --- as it is typed -----------------------------------------------------------------------------------------


@pytest.fixture
def typed(account: Account, at_a_laptop: None) -> Callable[..., Any]:
    return lambda *words: CliRunner().invoke(app, words)


def test_json_is_what_its_schema_says(account: Account, typed: Callable[..., Any]) -> None:
    box = account.deploy()
    account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=47)
    account.aws.client("ec2").terminate_instances(InstanceIds=[box])
    shown = typed("stop", "demo", "--json")
    assert shown.exit_code == 0, shown.output
    found = schemas.check("stop", shown.stdout)
    assert found["runs"][0]["step"] == 47
    assert "saved at step 47" in shown.stderr
    every = typed("stop", "--all", "--json")
    assert schemas.check("stop", every.stdout)["runs"][0]["run"] == "demo"


def test_what_cannot_be_meant_is_refused(typed: Callable[..., Any]) -> None:
    assert "--all stops every run" in str(typed("stop", "demo", "--all").exception)
    assert "is no name of a run" in str(typed("stop", "").exception)


def test_a_run_that_is_not_there_is_an_error(account: Account, typed: Callable[..., Any]) -> None:
    assert "nothing was stopped" in str(typed("stop", "dmeo").exception)
