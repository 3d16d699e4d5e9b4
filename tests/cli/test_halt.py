"""`signspot stop`: the box saves first, and whatever comes of that, the brake is pulled."""

from __future__ import annotations

import io
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.halt import Report, find_all, stop_all, stop_one
from cli.main import app
from cli.saving import LEAVE_SECONDS, SAVE_SECONDS, judge
from contract.errors import CloudError
from contract.layout import RunLayout
from contract.status import Phase, Progress, Status, StopRequest
from rehearsal.aws import EmulatedAws, Environ, Response
from tests.cli import schemas
from tests.cli.clock import Clock
from tests.cli.runs import NOW, deploy, recording

AWAY: Response = (503, {}, b"<Error><Code>ServiceUnavailable</Code><Message>Please retry</Message></Error>")
REFUSED: Response = (403, {}, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


class Account:
    """An emulated account, and boxes that are words in S3."""

    def __init__(self, aws: EmulatedAws) -> None:
        self.aws = aws
        self.clock = Clock()
        self.calls: list[str] = []
        self.told: list[str] = []
        self.buckets: dict[str, str] = {}
        self.after_the_brake: list[Callable[[], object]] = []
        """What happens when a group has been set to 0 and AWS was not asked again yet; once."""
        self.client = recording(aws, self.calls, {})

    def deploy(self, run: str = "demo") -> str:
        """Returns the id of its instance."""
        self.buckets[run] = deploy(self.aws, run)["AWS::S3::Bucket"]
        (box,) = self.living(run)
        self.box_says(Phase.TRAINING, run=run, instance=box, made=44, saved=40)
        return box

    def box_says(
        self, phase: Phase, *, instance: str, made: int, saved: int, run: str = "demo", trouble: str = ""
    ) -> None:
        status = Status(
            run=run,
            phase=phase,
            instance=instance,
            heartbeat=NOW,
            progress=Progress(step=made, steps=100),
            checkpoint_step=saved,
            trouble=trouble,
        )
        key = RunLayout(run).status
        self.aws.client("s3").put_object(Bucket=self.buckets[run], Key=key, Body=status.model_dump_json())

    def request(self, run: str = "demo") -> StopRequest | None:
        s3 = self.aws.client("s3")
        try:
            body = s3.get_object(Bucket=self.buckets[run], Key=RunLayout(run).stop)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None
        return StopRequest.model_validate_json(body)

    def living(self, run: str) -> list[str]:
        filters: list[Any] = [
            {"Name": "tag:signspot:run", "Values": [run]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        answer = self.aws.client("ec2").describe_instances(Filters=filters)
        return [one["InstanceId"] for part in answer["Reservations"] for one in part["Instances"]]

    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """By run, or by name where there is none: minimum, maximum, wanted."""
        found = {}
        for group in self.aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]:
            run = next((tag["Value"] for tag in group["Tags"] if tag["Key"] == "signspot:run"), "")
            size = group["MinSize"], group["MaxSize"], group["DesiredCapacity"]
            found[run or group["AutoScalingGroupName"]] = size
        return found

    def scale_up(self, run: str = "demo") -> None:
        """As somebody else's restart, or another deploy, does."""
        filters: Any = [{"Name": "tag:signspot:run", "Values": [run]}]
        autoscaling = self.aws.client("autoscaling")
        (group,) = autoscaling.describe_auto_scaling_groups(Filters=filters)["AutoScalingGroups"]
        autoscaling.update_auto_scaling_group(
            AutoScalingGroupName=group["AutoScalingGroupName"], MaxSize=1, DesiredCapacity=1
        )

    def stop(self, run: str = "demo", *, now: bool = False) -> Report:
        return stop_one(self.client, self.client, run, self.say, self.clock.patience(), now=now)

    def stop_all(self, *, now: bool = False) -> Report:
        return stop_all(self.client, self.client, self.say, self.clock.patience(), now=now)

    def say(self, _: str, what: str) -> None:
        self.told.append(what)
        if self.after_the_brake and what.endswith("is at 0: nothing is started any more"):
            self.after_the_brake.pop()()

    def clear(self) -> None:
        """Nothing of this test is left for the next one."""
        self.aws.fault = None
        cloudformation, autoscaling = self.aws.client("cloudformation"), self.aws.client("autoscaling")
        for stack in cloudformation.describe_stacks()["Stacks"]:
            cloudformation.delete_stack(StackName=stack["StackId"])
        for group in autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]:
            autoscaling.delete_auto_scaling_group(AutoScalingGroupName=group["AutoScalingGroupName"], ForceDelete=True)
        alive: Any = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        answer = self.aws.client("ec2").describe_instances(Filters=alive)
        for one in (one for part in answer["Reservations"] for one in part["Instances"]):
            self.aws.client("ec2").terminate_instances(InstanceIds=[one["InstanceId"]])

    def is_braked(self, run: str = "demo") -> bool:
        return self.sizes()[run] == (0, 0, 0) and not self.living(run)


@pytest.fixture
def account(emulated: EmulatedAws) -> Iterator[Account]:
    account = Account(emulated)
    yield account
    account.clear()


def to_s3(environ: Environ) -> bool:
    return "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", "")


# --- one run ------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("phase", [Phase.INTERRUPTED, Phase.DONE, Phase.EXPIRED])
def test_what_has_nothing_to_save_is_not_waited_for(account: Account, phase: Phase) -> None:
    account.deploy()
    account.box_says(phase, instance="i-before", made=40, saved=40)
    assert account.stop().exit_code == 0
    assert account.clock.now == 0
    assert account.is_braked()


def test_twice_does_no_harm(account: Account) -> None:
    box = account.deploy()
    account.box_says(Phase.INTERRUPTED, instance=box, made=47, saved=47)
    assert account.stop().runs[0].instances == (box,)
    again = account.stop()
    assert (again.runs[0].instances, again.runs[0].step, again.exit_code) == ((), 47, 0)


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


# --- all of them --------------------------------------------------------------------------------------------


def foreign(account: Account) -> None:
    """Somebody else's group and instance."""
    autoscaling, ec2 = account.aws.client("autoscaling"), account.aws.client("ec2")
    data: Any = {"ImageId": account.aws.ami, "InstanceType": "t3.micro"}
    name = f"theirs-{uuid.uuid4()}"
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="signspot-theirs",
        MinSize=1,
        MaxSize=2,
        DesiredCapacity=1,
        AvailabilityZones=["us-east-1a"],
        LaunchTemplate={"LaunchTemplateId": made["LaunchTemplateId"], "Version": "1"},
    )


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
