"""Saving before the brake: what is safe in S3 is told, and whatever comes of it, the brake is pulled."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cli.saving import LEAVE_SECONDS, SAVE_SECONDS, judge
from contract.status import Phase, Status
from rehearsal.aws import EmulatedAws, Environ, Response
from tests.cli.account import Account
from tests.cli.runs import NOW

AWAY: Response = (503, {}, b"<Error><Code>ServiceUnavailable</Code><Message>Please retry</Message></Error>")
REFUSED: Response = (403, {}, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


@pytest.fixture
def account(emulated: EmulatedAws) -> Iterator[Account]:
    account = Account(emulated)
    yield account
    account.clear()


def to_s3(environ: Environ) -> bool:
    return "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", "")


def test_the_box_saves_and_then_the_group_goes_to_zero(account: Account) -> None:
    box = account.deploy()
    sizes: list[Any] = []

    def saves() -> None:
        sizes.append(account.sizes()["demo"])
        assert account.request() is not None, "nobody asked"
        account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=47)

    account.clock.later.append((12, saves))
    report = account.stop()
    assert sizes == [(0, 1, 1)], "the brake comes after the save"
    assert account.is_braked()
    (stopped,) = report.runs
    assert (stopped.saved, stopped.step, report.exit_code) == (True, 47, 0)
    assert stopped.message == "saved at step 47, verified in S3"
    assert stopped.instances == (box,)
    assert 12 <= account.clock.now <= 12 + LEAVE_SECONDS + 4
    assert any(f"waiting for {box} to save: at step 44" in line for line in account.told)
    request = account.request()
    assert request is not None and request.stands, "a box that boots meanwhile must not train on"


def test_a_box_that_has_left_by_itself_is_not_waited_for(account: Account) -> None:
    box = account.deploy()

    def leaves() -> None:
        account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=47)
        account.aws.client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=box, ShouldDecrementDesiredCapacity=True
        )

    account.clock.later.append((4, leaves))
    assert account.stop().runs[0].saved
    assert account.clock.now < 10
    assert account.is_braked()


def test_what_the_box_could_not_bring_to_s3_is_waited_for(account: Account) -> None:
    box = account.deploy()
    account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=40, trouble="S3 said 503")
    account.clock.later.append((30, lambda: account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=47)))
    (stopped,) = account.stop().runs
    assert (stopped.saved, stopped.step) == (True, 47)


def test_what_the_trainer_did_not_save_is_lost_and_told(account: Account) -> None:
    """It was killed after its grace: the box has left in order, and its word is no proof that all is saved."""
    box = account.deploy()
    account.clock.later.append((8, lambda: account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=40)))
    report = account.stop()
    assert account.is_braked()
    (stopped,) = report.runs
    assert (stopped.saved, stopped.step, report.exit_code) == (False, 40, 4)
    assert stopped.message == (
        "not everything was saved: the newest verified checkpoint is of step 40; the last that was heard of was step 47"
    )
    assert stopped.message in " ".join(account.told)


def never_answers(account: Account) -> None:
    """The box trains on."""


def s3_is_away(account: Account) -> None:
    account.aws.fault = lambda environ: AWAY if to_s3(environ) else None


def s3_refuses(account: Account) -> None:
    account.aws.fault = lambda environ: REFUSED if to_s3(environ) else None


def s3_goes_away_in_the_middle(account: Account) -> None:
    account.clock.later.append((20, lambda: s3_is_away(account)))


def cloudformation_is_away(account: Account) -> None:
    account.aws.fault = lambda environ: AWAY if "/cloudformation/" in environ.get("HTTP_AUTHORIZATION", "") else None


def the_box_dies(account: Account) -> None:
    account.clock.later.append((20, lambda: die(account)))


def die(account: Account) -> None:
    """And its replacement, which has not said a word, is another one."""
    account.aws.client("ec2").terminate_instances(InstanceIds=account.living("demo"))


TROUBLES = [never_answers, s3_is_away, s3_refuses, s3_goes_away_in_the_middle, cloudformation_is_away, the_box_dies]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_brake_is_pulled_in_any_case(account: Account, trouble: Callable[[Account], None]) -> None:
    account.deploy()
    trouble(account)
    report = account.stop()
    account.aws.fault = None
    assert account.is_braked()
    assert account.clock.now <= SAVE_SECONDS + 10
    (stopped,) = report.runs
    assert stopped.saved is False
    assert report.exit_code == 4, "something may be lost, and a script should know"
    assert stopped.message in " ".join(account.told)


def test_a_box_that_never_answers_is_given_its_time_and_no_more(account: Account) -> None:
    account.deploy()
    (stopped,) = account.stop().runs
    assert SAVE_SECONDS <= account.clock.now <= SAVE_SECONDS + 5
    assert stopped.message == "its box has not saved within 150 s: the newest verified checkpoint is of step 40"


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("everything", [False, True])
def test_ctrl_c_while_the_box_saves_pulls_the_brake(
    account: Account, how: type[BaseException], everything: bool
) -> None:
    account.deploy()

    def interrupt() -> None:
        raise how

    account.clock.later.append((6, interrupt))
    with pytest.raises(how):
        account.stop_all() if everything else account.stop()
    assert account.is_braked()


def test_an_answer_that_hangs_does_not_keep_ctrl_c_from_the_brake(account: Account) -> None:
    account.deploy()
    over, me = threading.Event(), threading.main_thread().ident

    def hang(environ: Environ) -> None:
        if to_s3(environ) and environ["REQUEST_METHOD"] == "GET" and not over.is_set() and me:
            signal.pthread_kill(me, signal.SIGINT)
            over.wait(20)

    account.aws.fault = hang
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            account.stop()
        assert account.is_braked()
        assert time.monotonic() - began < 10
    finally:
        over.set()


@pytest.mark.parametrize("phase", [Phase.INTERRUPTED, Phase.DONE, Phase.EXPIRED])
def test_what_has_nothing_to_save_is_not_waited_for(account: Account, phase: Phase) -> None:
    account.deploy()
    account.box_says(phase, instance="i-before", made=40, saved=40)
    assert account.stop().exit_code == 0
    assert account.clock.now == 0
    assert account.is_braked()


@pytest.mark.parametrize(
    ("status", "alive", "saved"),
    [
        ({"phase": "pending"}, [], True),
        ({"phase": "booting", "instance": "i-1"}, ["i-1"], None),
        ({"phase": "training", "instance": "i-1"}, ["i-1"], None),
        ({"phase": "training", "instance": "i-1"}, None, None),
        ({"phase": "booting", "instance": "i-1", "checkpoint_step": 9}, ["i-2"], True),
        ({"phase": "training", "instance": "i-1", "progress": {"step": 9}, "checkpoint_step": 9}, ["i-2"], False),
        ({"phase": "training", "instance": "i-1", "progress": {"step": 9}, "checkpoint_step": 8}, ["i-2"], False),
        ({"phase": "interrupted", "instance": "i-1", "trouble": "503"}, ["i-1"], None),
        ({"phase": "interrupted", "instance": "i-1", "progress": {"step": 9}, "trouble": "503"}, [], False),
        ({"phase": "interrupted", "instance": "i-1", "checkpoint_step": 8, "trouble": "503"}, [], False),
        ({"phase": "interrupted", "instance": "i-1", "checkpoint_step": 8}, ["i-1"], True),
        ({"phase": "interrupted", "instance": "i-1", "progress": {"step": 9}, "checkpoint_step": 8}, ["i-1"], False),
        ({"phase": "interrupted", "instance": "i-1", "progress": {"step": 9}}, [], False),
        ({"phase": "interrupted", "instance": "i-1", "checkpoint_step": 8, "cut_off": True}, ["i-1"], False),
        ({"phase": "done", "progress": {"step": 9}, "checkpoint_step": 8}, ["i-1"], True),
        ({"phase": "failed", "checkpoint_step": 8}, [], False),
        ({"phase": "expired", "instance": "i-1", "progress": {"step": 8}, "checkpoint_step": 8}, ["i-1"], True),
        ({"phase": "expired", "instance": "i-1", "progress": {"step": 9}, "checkpoint_step": 8}, ["i-1"], False),
        ({"phase": "expired", "instance": "i-1", "checkpoint_step": 8, "trouble": "503"}, ["i-1"], None),
    ],
)
def test_what_is_safe(status: dict[str, Any], alive: list[str] | None, saved: bool | None) -> None:
    found = judge(Status.model_validate({"run": "demo", "heartbeat": NOW, **status}), alive)
    assert (found.saved if found else None) is saved
