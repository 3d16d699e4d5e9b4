from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from cli.details import Details, curves_in, look_closer, told
from cli.live import Instance, Live
from cli.logs import Logs
from cli.reader import Watch, read_logs
from cli.status import Report, exit_code, read_status, report_on
from cli.status_screen import line, show, sparkline
from cli.watch import watch
from contract.errors import StorageError
from contract.layout import RunLayout
from contract.status import Health, Phase, Progress, Status, StopRequest, Usage
from tests.cli import schemas

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAINING = Status(
    run="demo",
    phase=Phase.TRAINING,
    instance="i-1",
    heartbeat=NOW,
    since=NOW,
    checkpoint_time=NOW,
    progress=Progress(step=7, steps=70, metrics={"loss": 0.5}),
)


ALIVE = Live(desired=1, instances=(Instance(id="i-1", state="running"),))
LAYOUT = RunLayout("demo")


DETAILS = Details(curves={}, usd=None, usd_per_hour=None, ceiling_usd=None, stop_at=None, finish=None)


def shown(report: Report, now: datetime = NOW, details: Details | None = None, width: int = 200) -> str:
    text = io.StringIO()
    show(report, now, Console(file=text, width=width), details)
    return text.getvalue()


def as_printed(report: Report) -> Any:
    """With --json."""
    return schemas.check("status", told(report, DETAILS).model_dump_json())


def test_a_run_without_a_status_is_pending(s3: Any) -> None:
    assert read_status(s3, "bucket", "demo").phase is Phase.PENDING


def test_what_the_box_wrote_is_read(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="runs/demo/status.json", Body=TRAINING.model_dump_json())
    assert read_status(s3, "bucket", "demo") == TRAINING


def test_what_is_no_status_is_an_error(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="runs/demo/status.json", Body=b"<html>")
    with pytest.raises(StorageError, match="cannot be read"):
        read_status(s3, "bucket", "demo")


@pytest.mark.parametrize(
    ("status", "later", "code"),
    [
        (TRAINING, 10, 0),
        (TRAINING, 301, 4),
        (TRAINING.model_copy(update={"health": Health.STALE, "health_reason": "AccessDenied"}), 1, 4),
        (TRAINING.model_copy(update={"phase": Phase.DONE}), 10_000, 0),
        (TRAINING.model_copy(update={"phase": Phase.FAILED, "reason": "no data"}), 10, 6),
    ],
)
def test_the_exit_code_says_whether_all_is_well(status: Status, later: int, code: int) -> None:
    now = NOW + timedelta(seconds=later)
    report = Report(status=status, live=ALIVE)
    assert exit_code(report, now) == code
    assert ("stale" in shown(report, now)) == (code == 4)


def test_a_person_sees_step_loss_checkpoint_and_reason() -> None:
    status = TRAINING.model_copy(update={"reason": "resumed", "warnings": ("too slow for a notice",)})
    text = shown(Report(status=status, live=ALIVE))
    for word in (
        "demo",
        "i-1 (running)",
        "ssh",
        "closed",
        "training: resumed",
        "7 of 70",
        "loss 0.5000",
        "0 s ago",
        "too slow for a notice",
    ):
        assert word in text


def test_what_a_trainer_says_is_shown_as_it_is() -> None:
    """Square brackets are no markup: a path in them would be a closing tag."""
    status = TRAINING.model_copy(update={"phase": Phase.FAILED, "reason": "no [/opt/ml/model] in [bold]it"})
    assert "failed: no [/opt/ml/model] in [bold]it" in shown(Report(status=status, live=ALIVE))


def test_of_a_run_that_never_booted_nothing_is_made_up(s3: Any) -> None:
    text = shown(Report(status=read_status(s3, "bucket", "demo"), live=ALIVE), datetime.now(UTC))
    assert "pending: no instance has booted yet" in text
    assert not [word for word in ("heartbeat", "checkpoint", "step", "attempt") if word in text]


TAGS = [{"Key": "signspot:run", "Value": "demo"}]
OUTPUTS = {"Bucket": "bucket", "Group": "group", "StopAt": "2026-01-01T01:00:00Z"}


class Account:
    """A group of at most one instance, as the stack makes it, and its door."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3
        self.ec2 = boto3.client("ec2")
        self.autoscaling = boto3.client("autoscaling")
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.door = self.ec2.create_security_group(
            GroupName="door",
            Description="door",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": TAGS}],
        )["GroupId"]
        template = self.ec2.create_launch_template(
            LaunchTemplateName="template", LaunchTemplateData={"ImageId": "ami-12345678", "InstanceType": "t3.micro"}
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="group",
            MinSize=0,
            MaxSize=1,
            DesiredCapacity=1,
            AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateId": template, "Version": "1"},
            Tags=[
                {**tag, "ResourceId": "group", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
                for tag in TAGS
            ],
        )

    def to_zero(self) -> None:
        self.autoscaling.update_auto_scaling_group(AutoScalingGroupName="group", DesiredCapacity=0)

    def says(self, status: Status) -> None:
        self.s3.put_object(Bucket="bucket", Key=LAYOUT.status, Body=status.model_dump_json())

    def log(self, stream: str, offset: int, data: bytes, instance: str = "i-1") -> None:
        self.s3.put_object(Bucket="bucket", Key=LAYOUT.log_chunk(instance, stream, offset), Body=data)

    def open(self, **source: Any) -> None:
        rule: Any = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **source}
        self.ec2.authorize_security_group_ingress(GroupId=self.door, IpPermissions=[rule])

    def report(self, now: datetime = NOW) -> Report:
        return report_on(boto3.client, OUTPUTS, "demo", now)


@pytest.fixture
def account(s3: Any) -> Account:
    return Account(s3)


def test_a_run_that_lives_has_not_ended(account: Account) -> None:
    account.says(TRAINING)
    report = account.report()
    assert report.ending is None
    assert report.live is not None and [one.state for one in report.live.instances] == ["running"]
    assert exit_code(report, NOW) == 0


def test_an_instance_that_lives_on_in_a_group_at_zero_has_not_ended(account: Account) -> None:
    account.says(TRAINING)
    account.ec2.run_instances(
        ImageId="ami-12345678", MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": TAGS}]
    )
    account.to_zero()
    assert account.report().ending is None


@pytest.mark.parametrize(("minutes", "passed"), [(59, False), (61, True)])
def test_a_run_that_ended_without_a_word_says_so_with_the_end_of_its_boot_log(
    account: Account, minutes: int, passed: bool
) -> None:
    account.says(TRAINING)
    account.log("boot", 0, b"old\n", "i-0")
    account.log("boot", 0, b"".join(b"line %d\n" % number for number in range(40)) + b"[red]killed \xff")
    account.to_zero()
    now = NOW + timedelta(minutes=minutes)
    report = account.report(now)
    assert report.ending is not None
    assert report.ending.message.startswith("ended without a word: its last one was training, ")
    assert report.ending.deadline_passed is passed
    assert ("has passed" if passed else "has not passed") in report.ending.message
    assert exit_code(report, now) == 6
    text = shown(report, now)
    assert "ended without a word" in text and "[red]killed" in text and "line 39" in text
    assert "line 20" not in text and "old" not in text and "stale" not in text
    said = as_printed(report)
    assert said["ending"]["deadline_passed"] is passed
    assert said["ending"]["boot_log"][-1] == "[red]killed \ufffd"
    assert said["phase"] == "training" and said["live"]["desired"] == 0


def test_an_extension_moves_the_deadline(account: Account) -> None:
    account.says(TRAINING)
    account.s3.put_object(Bucket="bucket", Key=LAYOUT.deadline, Body='{"stop_at": "2026-01-01T03:00:00Z"}')
    account.to_zero()
    ending = account.report(NOW + timedelta(hours=2)).ending
    assert ending is not None and not ending.deadline_passed


def test_a_run_that_never_said_anything_is_told_too(account: Account) -> None:
    account.to_zero()
    report = account.report()
    assert report.ending is not None and "no instance ever wrote a status" in report.ending.message
    assert exit_code(report, NOW) == 6


def test_a_run_that_was_stopped_after_it_was_saved_did_have_its_word(account: Account) -> None:
    account.says(TRAINING.model_copy(update={"phase": Phase.INTERRUPTED, "checkpoint_step": 7}))
    account.to_zero()
    report = account.report()
    assert report.ending is not None
    assert report.ending.message.startswith("ended before it was done: it was saved at step 7")
    assert exit_code(report, NOW) == 6


def stopped(account: Account, **request: Any) -> None:
    body = StopRequest(asked_at=NOW, **request).model_dump_json()
    account.s3.put_object(Bucket="bucket", Key=LAYOUT.stop, Body=body)
    account.to_zero()


@pytest.mark.parametrize(
    ("phase", "step", "words"),
    [
        (Phase.INTERRUPTED, 7, ": it was saved at step 7"),
        (Phase.INTERRUPTED, 6, " at step 7: its newest verified checkpoint is of step 6"),
        (Phase.INTERRUPTED, 0, " at step 7: there is no checkpoint yet"),
        (Phase.TRAINING, 6, ": its last word was training: its newest verified checkpoint is of step 6"),
        (Phase.BOOTING, 0, ": its last word was booting: there is no checkpoint yet"),
    ],
)
def test_a_run_that_was_stopped_on_purpose_says_so_and_how_it_goes_on(
    account: Account, phase: Phase, step: int, words: str
) -> None:
    account.says(TRAINING.model_copy(update={"phase": phase, "checkpoint_step": step}))
    stopped(account)
    report = account.report()
    assert report.ending is not None and report.ending.stopped
    assert report.ending.message.startswith(f"was stopped on purpose{words}; the group is at 0")
    assert report.ending.message.endswith("It goes on with: signspot restart demo")
    assert exit_code(report, NOW) == 6, "it is not done, and nothing runs"
    assert as_printed(report)["ending"]["stopped"] is True
    late = account.report(NOW + timedelta(minutes=61)).ending
    assert late is not None
    assert late.message.endswith("It goes on with: signspot extend demo --hours 2, then signspot restart demo")


def test_a_run_that_was_started_again_is_not_told_as_stopped(account: Account) -> None:
    account.says(TRAINING)
    stopped(account, lifted_at=NOW)
    ending = account.report().ending
    assert ending is not None and not ending.stopped
    assert ending.message.startswith("ended without a word")


def test_a_group_that_is_gone_wants_nothing(account: Account) -> None:
    account.says(TRAINING)
    account.autoscaling.delete_auto_scaling_group(AutoScalingGroupName="group", ForceDelete=True)
    assert account.report().ending is not None


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.EXPIRED])
def test_a_failed_runs_evidence_is_there_after_the_box_is_gone(account: Account, phase: Phase) -> None:
    account.says(TRAINING.model_copy(update={"phase": phase, "reason": "the trainer exited with 1, five times"}))
    account.log("trainer", 0, b"step 1\n")
    account.log("trainer", 7, b"Traceback\nValueError: \xff\n")
    account.to_zero()
    report = account.report()
    assert report.ending is None
    assert exit_code(report, NOW) == 6
    assert "the trainer exited with 1, five times" in shown(report)
    out, remarks = io.BytesIO(), io.StringIO()
    source = Logs(account.s3, "bucket", "demo", "trainer")
    options = {"tail": None, "follow": True, "as_json": False, "out": out, "remarks": remarks, "sleep": lambda _: None}
    assert read_logs(boto3.client, OUTPUTS, "demo", source, **options) == 6
    assert out.getvalue() == b"step 1\nTraceback\nValueError: \xff\n"
    assert "the trainer exited with 1, five times" in remarks.getvalue()


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(step=7, steps=70, train_epoch=1, train_epochs=10), "7 of 70, epoch 1 of 10"),
        (Progress(step=7, steps=70), "7 of 70"),
        (Progress(step=7), "7"),
        (Progress(), "none yet"),
    ],
)
def test_only_what_the_trainer_says_of_itself_is_shown(account: Account, progress: Progress, words: str) -> None:
    account.says(TRAINING.model_copy(update={"progress": progress}))
    line = next(line for line in shown(account.report()).splitlines() if line.startswith("step"))
    assert line.split(maxsplit=1)[1].strip() == words


def test_a_trainer_that_did_not_save_itself_is_not_told_saved(account: Account) -> None:
    account.says(TRAINING.model_copy(update={"phase": Phase.INTERRUPTED, "checkpoint_step": 7, "cut_off": True}))
    stopped(account)
    ending = account.report().ending
    assert ending and "at step 7: its newest verified checkpoint is of step 7" in ending.message


def test_following_a_run_that_ended_without_a_word_comes_to_an_end(account: Account) -> None:
    account.says(TRAINING)
    account.log("trainer", 0, b'{"loss": 1}\nhalf a li')
    account.to_zero()
    out, remarks = io.BytesIO(), io.StringIO()
    source = Logs(account.s3, "bucket", "demo", "trainer")
    options = {"tail": 5, "follow": True, "as_json": True, "out": out, "remarks": remarks, "sleep": lambda _: None}
    assert read_logs(boto3.client, OUTPUTS, "demo", source, **options) == 6
    assert [json.loads(line)["line"] for line in out.getvalue().splitlines()] == ['{"loss": 1}', "half a li"]
    assert "ended without a word" in remarks.getvalue()


def test_who_follows_a_run_that_is_stopped_does_not_wait_for_it(account: Account) -> None:
    now = datetime.now(UTC)
    left = TRAINING.model_copy(update={"phase": Phase.INTERRUPTED, "heartbeat": now})
    watch = Watch(boto3.client, OUTPUTS, "demo")
    account.says(left)
    assert not watch.look().over, "the group wants a replacement"
    account.to_zero()
    assert watch.look().over
    account.says(TRAINING.model_copy(update={"heartbeat": now}))
    assert not watch.look().over, "its last word may be to come"


def test_a_log_that_is_not_there_is_an_error_that_names_the_boot_log(account: Account) -> None:
    source = Logs(account.s3, "bucket", "demo", "trainer")
    with pytest.raises(StorageError, match="no such log") as caught:
        read_logs(boto3.client, OUTPUTS, "demo", source, tail=None, follow=False, as_json=False, out=io.BytesIO())
    assert "--boot" in caught.value.mend


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ({"IpRanges": [{"CidrIp": "10.0.0.0/24"}]}, "10.0.0.0/24"),
        ({"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, "0.0.0.0/0"),
        ({"Ipv6Ranges": [{"CidrIpv6": "2001:db8::/64"}]}, "2001:db8::/64"),
        ({"IpRanges": [{"CidrIp": "10.0.0.0/24"}], "FromPort": 0, "ToPort": 100}, "10.0.0.0/24"),
    ],
)
def test_a_door_that_is_open_to_many_is_shouted_about_whoever_opened_it(
    account: Account, source: Any, network: str
) -> None:
    account.says(TRAINING)
    account.open(**source)
    report = account.report()
    assert f"PORT 22 IS OPEN TO MANY ADDRESSES: {network}" in shown(report)
    assert network in as_printed(report)["warnings"][0]


def test_a_door_for_one_address_is_named_and_not_shouted_about(account: Account) -> None:
    account.says(TRAINING)
    account.open(IpRanges=[{"CidrIp": "203.0.113.7/32"}])
    report = account.report()
    assert "from 203.0.113.7/32" in shown(report)
    assert not report.warnings


def test_what_aws_does_not_say_is_a_warning_and_no_guess(account: Account) -> None:
    account.says(TRAINING)
    account.to_zero()

    def client(service: str) -> Any:
        made = boto3.client(service)  # type: ignore[call-overload]
        if service != "s3":

            def refuse(**_: object) -> None:
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "op")

            made.meta.events.register("before-send", refuse)
        return made

    report = report_on(client, OUTPUTS, "demo", NOW)
    assert report.live is None and report.ending is None
    assert exit_code(report, NOW) == 0
    assert "AWS does not say what lives" in shown(report)


# --- besides the box's own word ------------------------------------------------------------------------


def test_losses_are_read_off_the_log_of_ours_and_of_other_trainers() -> None:
    lines = [
        "train_epoch 1/30 step 24 loss 1.5000 accuracy 0.2 val_loss 1.25 val_accuracy 0.3 12.0 steps/s",
        "a line without",
        "epoch=2 loss=1e-1 val_loss: 0.75",
        "flossy 3 and nan loss nan",
        "half a line lo",
    ]
    assert curves_in(lines) == {"loss": [1.5, 0.1], "val_loss": [1.25, 0.75]}
    assert curves_in([]) == {}


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([2.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([0.0, 7.0, float("nan")], "▁█"),
        ([float(n // 10) for n in range(80)], "▁▂▃▄▅▆▇█"),
    ],
)
def test_a_sparkline(values: list[float], bars: str) -> None:
    assert sparkline(values, 8) == bars


BUSY = Details(
    curves={"loss": [3.0 / (n + 1) for n in range(60)], "val_loss": [3.2 / (n + 1) for n in range(60)]},
    usd=0.0712,
    usd_per_hour=0.2039,
    ceiling_usd=4.21,
    stop_at=NOW + timedelta(hours=6),
    finish=NOW + timedelta(minutes=42),
)
RICH = TRAINING.model_copy(
    update={
        "instance": "i-0123456789abcdef0",
        "instance_type": "g4dn.xlarge",
        "zone": "us-east-1a",
        "attempts": 3,
        "checkpoint_step": 6,
        "usage": Usage(gpu_percent=97, gpu_memory_percent=43, memory_percent=31),
        "progress": Progress(
            step=7, steps=70, train_epoch=3, train_epochs=30, metrics={"loss": 0.5, "val_loss": 0.6, "accuracy": 0.9}
        ),
    }
)


@pytest.mark.parametrize("width", [80, 120])
def test_everything_there_is_to_say_fits(width: int) -> None:
    text = shown(Report(status=RICH, live=ALIVE), details=BUSY, width=width)
    assert max(map(len, text.splitlines())) <= width
    for words in (
        "10 %, done about 00:42 UTC",
        "█▄",
        "GPU 97 % busy, its memory 43 % full",
        "attempt 3, interrupted or started again 2 times",
        "about $0.07 so far, at most $4.21",
        "$0.2039 now",
        "06:00 UTC (in 6.0 h)",
        "accuracy 0.9000",
    ):
        assert words in " ".join(text.split()), words
    assert len(line(Report(status=RICH, live=ALIVE), BUSY, NOW)) < 200


def test_what_a_run_has_cost_and_when_it_ends_is_looked_up(account: Account) -> None:
    account.says(RICH)
    account.log("trainer", 0, b"train_epoch 1/30 step 24 loss 1.5000 val_loss 1.25\n")
    found = look_closer(
        boto3.client, OUTPUTS | {"CeilingUsd": "4.21", "MaxPricePerHour": "0.526"}, account.report(), NOW
    )
    assert found.curves == {"loss": [1.5], "val_loss": [1.25]}
    assert found.stop_at == NOW + timedelta(hours=1) and found.ceiling_usd == 4.21
    assert found.usd_per_hour is not None and not found.warnings, found.warnings
    assert found.usd is not None


def test_what_cannot_be_looked_up_is_a_warning(account: Account) -> None:
    account.says(RICH)
    report = account.report()
    account.s3.delete_object(Bucket="bucket", Key=LAYOUT.status)
    account.s3.delete_bucket(Bucket="bucket")
    found = look_closer(boto3.client, OUTPUTS, report, NOW)
    assert found.usd is None and found.warnings
    assert "dollars" in shown(report, details=found) and "not known" in shown(report, details=found)


def watched(account: Account, then: list[Any], **more: Any) -> tuple[int, list[str], list[float]]:
    written: list[str] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        then.pop(0)()

    console = Console(file=io.StringIO(), width=80)
    code = watch(boto3.client, OUTPUTS, "demo", console, write=written.append, sleep=sleep, **more)
    return code, written, slept


def test_watching_without_a_terminal_is_a_line_for_each_change(account: Account) -> None:
    account.says(TRAINING)
    beat = TRAINING.model_copy(update={"heartbeat": NOW + timedelta(seconds=5)})
    done = TRAINING.model_copy(update={"phase": Phase.DONE})
    code, written, slept = watched(account, [lambda: account.says(beat), lambda: account.says(done)])
    assert code == 0 and len(slept) == 2
    assert ["training" in written[0], "done" in written[1]] == [True, True] and len(written) == 2


def test_a_run_destroyed_while_watched_is_not_waited_for(account: Account) -> None:
    account.says(TRAINING)

    def destroy() -> None:
        account.s3.delete_object(Bucket="bucket", Key=LAYOUT.status)
        account.s3.delete_bucket(Bucket="bucket")

    with pytest.raises(StorageError, match="NoSuchBucket"):
        watched(account, [destroy])


def test_watching_as_json_is_an_object_a_line(account: Account) -> None:
    account.says(TRAINING)
    failed = TRAINING.model_copy(update={"phase": Phase.FAILED})
    code, written, _ = watched(account, [lambda: account.says(failed)], as_json=True)
    assert code == 6
    assert [schemas.check("status", text)["phase"] for text in written] == ["training", "failed"]


def test_watching_on_a_terminal_draws_the_screen(account: Account) -> None:
    account.says(TRAINING.model_copy(update={"phase": Phase.DONE}))
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    assert watch(boto3.client, OUTPUTS, "demo", console, sleep=lambda _: None) == 0
    assert "7 of 70" in out.getvalue()
