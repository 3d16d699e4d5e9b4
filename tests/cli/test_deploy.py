"""`signspot deploy`: what the group's troubles mean, the wait for the first step, and what giving up leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from rich.console import Console

from cli import cdk
from cli.activities import explain
from cli.check import Laptop
from cli.deploy import NotReady, Order, count_resources, deploy_run, following, plan_table
from cli.first_step import EMPTY_LOOKS, Wait, furthest
from cli.project import open_project
from cli.stop import Patience
from contract.ceiling import Ceiling
from contract.errors import CloudError, TrainerError
from contract.layout import RunLayout
from contract.status import Event, Phase, Progress, Status, StopRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LAYOUT = RunLayout("demo")
TAGS = [{"Key": "signspot:run", "Value": "demo"}]
OUTPUTS = {"Bucket": "bucket", "Group": "group", "StopAt": "2026-01-01T08:00:00Z"}
STACK = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, "Outputs": {"Bucket": {"Value": "bucket"}}}
NO_CAPACITY = (
    "Could not launch Spot Instances. InsufficientInstanceCapacity - There is no Spot capacity available that matches "
    "your request. Launching EC2 instance failed."
)


# --- why the group has no instance ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "what", "mend"),
    [
        ("Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot", "quota", "--request-quota"),
        ("Max spot instance count exceeded. Launching EC2 instance failed.", "quota", "signspot ls"),
        ("You have requested more vCPU capacity than your current vCPU limit of 0 allows", "limit of vCPUs", "quota"),
        (NO_CAPACITY, "no spare instance", "instance_types"),
        ("UnfulfillableCapacity - Unable to fulfill capacity due to your request", "cannot fill", "instance_types"),
        (
            "SpotMaxPriceTooLow - Your Spot request price of 0.01 is lower than the minimum required Spot request "
            "fulfillment price of 0.2.",
            "above what this run accepts",
            "max_price_per_hour",
        ),
        ("Your requested instance type (g4dn.xlarge) is not supported in your requested Availability Zone", "zone", ""),
        ("The image id '[ami-1]' does not exist. InvalidAMIID.NotFound", "image", "ami_parameter"),
        ("InvalidParameterValue: The architecture 'arm64' of the specified instance type does not match", "image", ""),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "role", "create-service-linked-role"),
        ("PendingVerification: Your request for accessing resources in this region is being validated", "new", "wait"),
        ("Instance became unhealthy: Client.InternalError: Client error on launch", "key", "ebs"),
    ],
)
def test_a_refusal_is_explained_with_the_next_thing_to_try(message: str, what: str, mend: str) -> None:
    found = explain(message)
    assert found and what in found.what and mend in found.mend and found.mend


def test_what_is_not_known_is_not_explained() -> None:
    assert explain("Launching a new EC2 instance: i-1") is None


# --- waiting -------------------------------------------------------------------------------------------


class Account:
    """A group of one instance, as the stack makes it; `activities` are Auto Scaling's, newest first."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3
        self.ec2, self.autoscaling = boto3.client("ec2"), boto3.client("autoscaling")
        data = {"ImageId": "ami-12345678", "InstanceType": "t3.micro"}
        self.ec2.create_launch_template(LaunchTemplateName="template", LaunchTemplateData=data)
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="group",
            MinSize=0,
            MaxSize=1,
            DesiredCapacity=1,
            AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": "template"},
            Tags=[
                {**tag, "ResourceId": "group", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
                for tag in TAGS
            ],
        )
        self.cloudformation = boto3.client("cloudformation")
        self.cloudformation.create_stack(StackName="signspot-demo", TemplateBody=json.dumps(STACK))
        self.activities: list[dict[str, str]] = []
        self.autoscaling.describe_scaling_activities = lambda **_: {"Activities": self.activities}
        self.unreachable: Callable[[], bool] = lambda: False
        self.said: list[str] = []
        self.slept: list[float] = []
        self.then: list[Callable[[], object]] = []
        """What happens between one look and the next."""

    def client(self, service: str) -> Any:
        if self.unreachable():
            return boto3.client("autoscaling", endpoint_url="http://localhost:9", config=NOT_AGAIN)
        known = {"autoscaling": self.autoscaling, "ec2": self.ec2, "s3": self.s3, "cloudformation": self.cloudformation}
        return known[service]

    def fails(self, message: str, number: int = 1) -> None:
        activity = {
            "ActivityId": str(number),
            "StatusCode": "Failed",
            "StatusMessage": message,
            "Description": "Launch",
        }
        self.activities.insert(0, activity)

    @property
    def instances(self) -> list[str]:
        (group,) = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["group"])["AutoScalingGroups"]
        return [one["InstanceId"] for one in group["Instances"]]

    @property
    def desired(self) -> int:
        (group,) = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["group"])["AutoScalingGroups"]
        return group["DesiredCapacity"]

    def says(self, phase: Phase, step: int = 0, restored: int = 0, instance: str = "", saved: int = 0) -> None:
        status = Status(
            run="demo",
            phase=phase,
            instance=instance or self.instances[0],
            heartbeat=NOW,
            restored_step=restored,
            checkpoint_step=saved,
            progress=Progress(step=step),
            reason="as it says",
        )
        self.s3.put_object(Bucket="bucket", Key=LAYOUT.status, Body=status.model_dump_json())

    def tells(self, kind: str) -> None:
        event = Event(time=NOW, kind=kind, instance="i-1", message="so it is")
        self.s3.put_object(Bucket="bucket", Key=LAYOUT.event(kind, "x"), Body=event.model_dump_json())

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.then:
            self.then.pop(0)()

    def wait(self, minutes: float = 1.0, known: set[str] | None = None) -> Status:
        patience = Patience(60, 60 * minutes, self.sleep, lambda: sum(self.slept))
        say = lambda who, what: self.said.append(f"{who}: {what}")  # noqa: E731
        return Wait(self.client, "demo", OUTPUTS, say, known or set()).until_first_step(patience, patience)


NOT_AGAIN = boto3.session.Config(connect_timeout=1, retries={"total_max_attempts": 1})


@pytest.fixture
def account(s3: Any) -> Account:
    return Account(s3)


def test_it_waits_until_the_first_step_and_says_what_happens(account: Account) -> None:
    account.fails(NO_CAPACITY)
    account.then = [
        lambda: account.tells("booting"),
        lambda: account.says(Phase.BOOTING),
        lambda: account.says(Phase.TRAINING),
        lambda: account.says(Phase.TRAINING, step=1),
    ]
    status = account.wait(minutes=10)
    assert status.progress.step == 1 and len(account.slept) == 4
    assert account.desired == 1
    told = "\n".join(account.said)
    assert "InsufficientInstanceCapacity" in told and "no spare instance" in told and "i-1: booting: so it is" in told


def test_a_trouble_is_explained_once_however_often_it_comes(account: Account) -> None:
    account.then = [lambda number=number: account.fails(NO_CAPACITY, number) for number in range(5)]
    with pytest.raises(CloudError):
        account.wait(minutes=8)
    assert sum("no spare instance" in line for line in account.said) == 1


def test_an_older_boxs_word_is_not_the_first_step(account: Account) -> None:
    account.says(Phase.TRAINING, step=50, instance="i-0123456789abcdef0")
    with pytest.raises(CloudError, match="did not come"):
        account.wait()


def test_after_a_restore_the_first_new_step_counts(account: Account) -> None:
    account.says(Phase.TRAINING, step=50, restored=50)
    account.then = [lambda: account.says(Phase.TRAINING, step=51, restored=50)]
    assert account.wait(minutes=2).progress.step == 51


def test_a_checkpoint_is_a_step_too(account: Account) -> None:
    """A trainer of one's own need not write `progress.json`."""
    account.says(Phase.TRAINING, restored=50, saved=50)
    account.then = [lambda: account.says(Phase.TRAINING, restored=50, saved=75)]
    status = account.wait(minutes=2)
    assert furthest(status) == 75 and account.desired == 1


def test_giving_up_lets_the_box_save_before_its_group_goes_to_zero(account: Account) -> None:
    """The first step takes longer than somebody waits; it comes while the run is being ended."""
    account.says(Phase.TRAINING)
    (box,) = account.instances
    sizes: list[int] = []

    def saves() -> None:
        sizes.append(account.desired)
        request = account.s3.get_object(Bucket="bucket", Key=LAYOUT.stop)["Body"].read()
        assert StopRequest.model_validate_json(request).stands, "nobody asked"
        account.says(Phase.INTERRUPTED, step=3, saved=3, instance=box)

    account.then = [lambda: None, saves]
    with pytest.raises(CloudError, match="did not come") as gave_up:
        account.wait()
    assert sizes == [1], "the brake comes after the save"
    assert account.desired == 0 and "saved at step 3, verified in S3" in gave_up.value.why


def test_giving_up_ends_a_box_that_never_answers(account: Account) -> None:
    account.says(Phase.BOOTING)
    with pytest.raises(CloudError, match="did not come") as gave_up:
        account.wait()
    assert account.desired == 0 and "has not saved within 150 s" in gave_up.value.why


def test_giving_up_leaves_no_instance_and_says_what_to_try(account: Account) -> None:
    account.fails("Max spot instance count exceeded. Launching EC2 instance failed.")
    (instance,) = account.instances
    with pytest.raises(CloudError, match="its group is at 0 and costs nothing") as gave_up:
        account.wait()
    assert "quota of vCPUs" in gave_up.value.why and "--request-quota" in gave_up.value.mend
    assert account.desired == 0
    found = account.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "terminated"


def test_without_any_trouble_told_the_boot_log_is_named(account: Account) -> None:
    with pytest.raises(CloudError) as gave_up:
        account.wait()
    assert "signspot logs demo --boot" in gave_up.value.mend and account.desired == 0


def test_what_waiting_does_not_mend_is_not_waited_for(account: Account) -> None:
    account.fails("The image id '[ami-1]' does not exist. InvalidAMIID.NotFound")
    with pytest.raises(CloudError):
        account.wait(minutes=600)
    assert len(account.slept) <= 1 and account.desired == 0


def test_what_happened_before_this_deploy_is_not_told(account: Account) -> None:
    account.fails(NO_CAPACITY)
    account.then = [lambda: account.says(Phase.TRAINING, step=1)]
    account.wait(minutes=2, known={"1 Failed"})
    assert not account.said


def test_aws_out_of_reach_is_waited_out(account: Account) -> None:
    account.unreachable = lambda: len(account.slept) < 3
    account.says(Phase.TRAINING, step=1)
    assert account.wait(minutes=10).progress.step == 1
    assert len([line for line in account.said if line.startswith("AWS: ")]) == 1


def test_giving_up_that_does_not_succeed_says_that_it_may_cost_money(account: Account) -> None:
    account.unreachable = lambda: True
    with pytest.raises(CloudError, match="may cost money") as gave_up:
        account.wait()
    assert "signspot stop demo" in gave_up.value.mend and OUTPUTS["StopAt"] in gave_up.value.mend


def test_a_run_that_failed_is_told_at_once(account: Account) -> None:
    account.says(Phase.FAILED)
    with pytest.raises(TrainerError, match="as it says"):
        account.wait()


def test_a_group_that_somebody_set_to_zero_is_not_waited_for(account: Account) -> None:
    account.autoscaling.update_auto_scaling_group(AutoScalingGroupName="group", DesiredCapacity=0)
    with pytest.raises(CloudError, match="no instance lives"):
        account.wait(minutes=600)
    assert len(account.slept) == EMPTY_LOOKS - 1


def test_ctrl_c_stops_nothing_but_the_waiting(account: Account) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    account.then = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        account.wait()
    assert account.desired == 1 and account.instances


# --- the CDK's command line ----------------------------------------------------------------------------


LINE = "signspot-demo |  3/35 | 5:31:11 PM | CREATE_COMPLETE      | AWS::EC2::VPC | Network/Vpc (NetworkVpc7FB7348F) "


def test_a_line_of_progress_is_understood() -> None:
    step = cdk.step_of(LINE)
    assert step == cdk.Step(3, 35, "CREATE_COMPLETE", "AWS::EC2::VPC", "Network/Vpc (NetworkVpc7FB7348F)")
    assert step.over
    assert cdk.step_of("signspot-demo: deploying... [1/1]") is None
    assert cdk.step_of("Outputs: a | b | c") is None


def test_progress_without_a_terminal_is_a_line_for_what_is_done() -> None:
    out = StringIO()
    with following(Console(file=out, width=120)) as hear:
        hear(LINE)
        hear(LINE.replace("CREATE_COMPLETE", "CREATE_IN_PROGRESS"))
        hear("something else")
    assert out.getvalue() == "  3/35 CREATE_COMPLETE AWS::EC2::VPC Network/Vpc (NetworkVpc7FB7348F)\n"


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("has the environment been bootstrapped? Please run 'cdk bootstrap'", "cdk bootstrap"),
        ("Unable to fetch parameters [/aws/service/x] from parameter store", "machine.ami_parameter"),
        ("ExpiredToken: The security token included in the request is expired", "aws sso login"),
        ("is in ROLLBACK_COMPLETE state and can not be updated", "signspot destroy RUN"),
        ("who knows", "the same command"),
    ],
)
def test_what_the_cdk_fails_at_is_told_with_what_mends_it(said: str, mend: str, tmp_path: Path) -> None:
    heard: list[str] = []
    command = [sys.executable, "-c", f"import sys; print('one'); print({said!r}, file=sys.stderr); sys.exit(3)"]
    with pytest.raises(CloudError, match="ended with 3") as failed:
        cdk.run(command, {}, tmp_path, heard.append)
    assert said in failed.value.why and mend in failed.value.mend
    assert sorted(heard) == sorted(["one", said])


def test_the_cdk_is_called_alike_everywhere() -> None:
    """The rehearsal (`cli/stage.py`) calls the same function."""
    words = cdk.deploy("folder", "-c", "run=demo")
    assert words[:2] == [str(cdk.CDK), "deploy"] and words[-2:] == ["-c", "run=demo"]
    assert "--require-approval" in words and str(Path(sys.executable).parent) in cdk.environment({})["PATH"]


# --- the plan ------------------------------------------------------------------------------------------


GOLDEN = Path(__file__).parents[1] / "template/golden-opened.json"


@pytest.mark.parametrize("width", [80, 120])
def test_the_plan_is_counted_from_the_template_and_fits_on_one_screen(width: int) -> None:
    resources = count_resources(GOLDEN)
    body = json.loads(GOLDEN.read_text())["Resources"]
    assert sum(resources.values()) == len([one for one in body.values() if one["Type"] != "AWS::CDK::Metadata"])
    assert resources["AWS::AutoScaling::AutoScalingGroup"] == 1
    ceiling = Ceiling(NOW, Decimal("0.526"), Decimal("4.21"))
    out = StringIO()
    project = open_project(["run=demo", "ssh_from=203.0.113.7/32"])
    Console(file=out, width=width).print(plan_table(project, resources, ceiling, None))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= width
    text = " ".join(out.getvalue().split())
    assert "creates signspot-demo" in text and "$4.21" in text and "from 203.0.113.7/32 alone" in text


def test_what_is_not_ready_is_not_deployed(tmp_path: Path) -> None:
    laptop = Laptop(lambda _: None, None, None, lambda: "203.0.113.7/32", tmp_path)

    def confirm(_: str) -> None:
        raise AssertionError("nobody is to be asked")

    order = Order([f"data.path={tmp_path / 'nowhere'}"], yes=False, wait_minutes=0)
    with pytest.raises(NotReady, match="nothing was created"):
        deploy_run(order, laptop, Console(file=StringIO()), confirm, environment={"PATH": ""})


def test_an_address_and_a_key_are_found_where_the_door_is_to_be_open(tmp_path: Path) -> None:
    project = open_project(["ssh_from=auto", "run=demo"])
    opened = project.opened(lambda: "203.0.113.7/32", lambda: tmp_path / "key.pub")
    assert (
        "access.ssh_from=203.0.113.7/32" in opened.context
        and f"access.public_key={tmp_path / 'key.pub'}" in opened.context
    )
    assert "ssh_from=auto" not in opened.context and opened.config.access.addresses == 1
    closed = open_project(["run=demo"])
    assert closed.opened(lambda: "never", lambda: Path("never")) is closed
    assert "run=demo" in closed.context
