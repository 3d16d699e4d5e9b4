"""The brake: the run's instance ends, nothing replaces it, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cli.stop import end_run, find_writers
from contract.errors import CloudError
from rehearsal.aws import EmulatedAws
from tests.cli.account import Account


@pytest.fixture
def account(emulated: EmulatedAws) -> Iterator[Account]:
    account = Account(emulated)
    yield account
    account.clear()


def stop(account: Account, run: str = "demo") -> str:
    account.told.clear()
    end_run(account.client, run, account.say, account.clock.patience())
    return "\n".join(account.told)


def test_stop_ends_the_instance_and_nothing_else(account: Account) -> None:
    box, other = account.deploy(), account.deploy("demo-2")
    assert f"no instance lives ({box})" in stop(account)
    assert "no instance lives (none did)" in stop(account)
    assert account.is_braked() and account.living("demo-2") == [other]
    assert account.sizes()["demo-2"] == (0, 1, 1)
    assert account.aws.client("s3").head_bucket(Bucket=account.buckets["demo"])


def test_stopping_a_run_that_is_not_there_is_an_error(account: Account) -> None:
    with pytest.raises(CloudError, match="nothing was stopped"):
        stop(account, "dmeo")


def test_a_group_that_stays_up_is_named_with_the_command_that_ends_it(account: Account) -> None:
    """Whoever sets it up again and again: after half an hour somebody must look."""
    account.deploy()
    said = account.say

    def say(who: str, what: str) -> None:
        said(who, what)
        account.scale_up()

    with pytest.raises(CloudError, match=r"still there after 60 s: .*it costs money") as caught:
        end_run(account.client, "demo", say, replace(account.clock.patience(), limit_seconds=60))
    assert "update-auto-scaling-group" in caught.value.mend and "terminate-instances" in caught.value.mend


@pytest.mark.parametrize("known", [1, 50, 51, 120])
def test_no_request_names_more_than_aws_takes(account: Account, known: int) -> None:
    """A run of one name, deployed and destroyed every day: CloudFormation knows all its groups for 90 days."""
    asked: list[int] = []

    def client(service: str) -> Any:
        made = account.aws.client(service)
        made.meta.events.register(
            "provide-client-params.auto-scaling.DescribeAutoScalingGroups",
            lambda params, **_: asked.append(len(params.get("AutoScalingGroupNames", ()))),
        )
        return made

    find_writers(client, "demo", [f"group-{number}" for number in range(known)])
    assert sum(asked) == known
    assert max(asked) <= 50
