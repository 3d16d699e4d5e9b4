"""`signspot destroy` and `signspot stop` against an emulated account that has our stack, and other people's things."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from moto.cloudformation.models import cloudformation_backends
from rich.console import Console

from cli.destroy import Plan, confirm, destroy_run
from cli.leftovers import KIND_OF_TYPE, PARTS, Known, ask_again
from contract.errors import CloudError, ConfigError, StorageError
from rehearsal.aws import EmulatedAws
from tests.cli.clock import Clock
from tests.cli.runs import deploy, files_below, prepare, put_model, put_training, recording, template
from tests.cli.schemas import check

TAGS = [{"Key": "signspot:run", "Value": "demo"}]


class Account:
    def __init__(self, aws: EmulatedAws, to: Path) -> None:
        self.aws = aws
        self.to = to
        self.clock = Clock()
        self.calls: list[str] = []
        self.soon: list[str] = []
        """The services that a client was made for which gives up soon."""
        self.printed: dict[str, Any] = {}
        """By `--json`."""
        self.before: dict[str, Callable[[], object]] = {}
        """Things that happen just before an operation that `destroy` asks for."""

    def destroy(self, run: str = "demo", **options: bool) -> tuple[int, str]:
        text = io.StringIO()
        console = Console(file=text, width=200)
        plan = Plan(run, self.to, **options)
        client = recording(self.aws, self.calls, self.before)
        destroyed = destroy_run(client, self.brisk, plan, console, self.clock.patience())
        printed = check("destroy", destroyed.model_dump_json())
        assert bool(printed["left"]) == bool(destroyed.exit_code)
        self.printed = printed
        return destroyed.exit_code, text.getvalue()

    def brisk(self, service: str) -> Any:
        self.soon.append(service)
        return self.aws.client(service)

    def set_status(self, arn: str, status: str) -> None:
        cloudformation_backends[self.aws.account][self.aws.region].stacks[arn].status = status

    def stacks(self) -> list[str]:
        return [one["StackName"] for one in self.aws.client("cloudformation").describe_stacks()["Stacks"]]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with EmulatedAws() as aws:
        prepare(aws)
        yield Account(aws, tmp_path)


def instances(aws: EmulatedAws) -> list[dict[str, Any]]:
    return [one for part in aws.client("ec2").describe_instances()["Reservations"] for one in part["Instances"]]


def test_everything_comes_home_and_nothing_is_left(account: Account) -> None:
    made = deploy(account.aws)
    s3 = account.aws.client("s3")
    put_training(s3, made["AWS::S3::Bucket"])
    put_model(s3, made["AWS::S3::Bucket"])
    code, text = account.destroy()
    assert code == 0, text
    assert "left: 0" in text
    assert account.stacks() == []
    assert {"model/model.keras", "checkpoints/3-c/state.npz", "checkpoints/1-a/state.npz", "events.jsonl"} <= (
        files_below(account.to / "demo")
    )
    assert re.search(r"instances +│ 1 +│ 0", text)
    assert re.search(r"volumes +│ 1 +│ 0", text)
    (home,) = account.printed["fetched"]
    assert Path(home["folder"]) == account.to / "demo" and home["model"] and len(home["checkpoints"]) == 2
    assert account.printed["left"] == account.printed["kept"] == []


def test_the_order_is_save_then_stop_then_gone_then_fetch_then_delete_then_ask(account: Account) -> None:
    made = deploy(account.aws)
    put_training(account.aws.client("s3"), made["AWS::S3::Bucket"])
    ec2 = account.aws.client("ec2")
    tags = [{"ResourceType": "instance", "Tags": TAGS}]
    slow = ec2.run_instances(ImageId=account.aws.ami, MinCount=1, MaxCount=1, TagSpecifications=tags)
    slow_id = slow["Instances"][0]["InstanceId"]

    def end() -> None:
        ec2.terminate_instances(InstanceIds=[slow_id])
        account.calls.append("gone")

    account.clock.later.append((40, end))
    code, text = account.destroy()
    assert code == 0, text
    assert f"waiting for {slow_id} (running) to save and to end" in text
    assert account.calls.index("PutObject") < account.calls.index("UpdateAutoScalingGroup"), "the box is asked to save"
    assert "s3" in account.soon, "and S3 out of reach keeps no instance alive"
    rest = account.calls[account.calls.index("UpdateAutoScalingGroup") :]
    first = [rest.index(one) for one in ("UpdateAutoScalingGroup", "gone", "GetObject", "DeleteStack")]
    assert first == sorted(first)
    assert "GetResources" in rest[first[-1] :]


def test_an_instance_that_does_not_end_stops_it_all(account: Account) -> None:
    made = deploy(account.aws)
    tags = [{"ResourceType": "instance", "Tags": TAGS}]
    image = account.aws.ami
    stuck = account.aws.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
    stuck_id = stuck["Instances"][0]["InstanceId"]
    with pytest.raises(CloudError, match=f"{stuck_id}.*it costs money") as caught:
        account.destroy()
    assert f"terminate-instances --instance-ids {stuck_id}" in caught.value.mend
    assert "DeleteStack" not in account.calls
    assert account.clock.now >= 1800
    assert account.aws.client("s3").head_bucket(Bucket=made["AWS::S3::Bucket"])


def broken_model(account: Account, bucket: str) -> None:
    s3 = account.aws.client("s3")
    put_model(s3, bucket)
    s3.put_object(Bucket=bucket, Key="runs/demo/model/model.keras", Body=b"other")


def missing_checkpoint(account: Account, bucket: str) -> None:
    s3 = account.aws.client("s3")
    put_training(s3, bucket)
    for name in ("1-a", "2-b", "3-c"):
        s3.delete_object(Bucket=bucket, Key=f"runs/demo/checkpoints/{name}/state.npz")


def unreachable(account: Account, bucket: str) -> None:
    put_training(account.aws.client("s3"), bucket)
    account.aws.fault = lambda environ: (
        (503, {}, b"") if "/runs/demo/logs/" in environ["PATH_INFO"] and environ["REQUEST_METHOD"] == "GET" else None
    )


def full_disk(account: Account, bucket: str) -> None:
    put_model(account.aws.client("s3"), bucket)
    (account.to / "demo").write_text("a file where the folder should be")


@pytest.mark.parametrize("trouble", [broken_model, missing_checkpoint, unreachable, full_disk])
def test_what_cannot_be_fetched_is_not_deleted(account: Account, trouble: Callable[[Account, str], None]) -> None:
    bucket = deploy(account.aws)["AWS::S3::Bucket"]
    trouble(account, bucket)
    before = account.aws.client("s3").list_object_versions(Bucket=bucket)["Versions"]
    with pytest.raises(StorageError) as caught:
        account.destroy()
    assert caught.value.exit_code == 4
    assert not {"DeleteStack", "DeleteObjects", "DeleteBucket"} & set(account.calls)
    assert account.stacks() == ["signspot-demo"]
    after = account.aws.client("s3").list_object_versions(Bucket=bucket)["Versions"]
    assert [one for one in after if one["Key"] != "runs/demo/stop.json"] == before, "nothing but the request is new"


def test_a_run_that_is_not_done_gives_its_checkpoints(account: Account) -> None:
    put_training(account.aws.client("s3"), deploy(account.aws)["AWS::S3::Bucket"])
    code, text = account.destroy()
    assert code == 0
    assert "there is no model: the run is training, not done" in text
    assert "newest checkpoint, step 3" in text
    assert "best checkpoint, step 1" in text


def test_discard_fetches_nothing(account: Account) -> None:
    broken_model(account, deploy(account.aws)["AWS::S3::Bucket"])
    code, text = account.destroy(discard=True)
    assert code == 0, text
    assert "GetObject" not in account.calls
    assert files_below(account.to) == set()
    assert account.printed["fetched"] == []


@pytest.mark.parametrize(("given", "typed", "good"), [("demo", "", True), ("", "demo", True), ("y", "", False)])
def test_discard_takes_the_name_of_the_run(given: str, typed: str, good: bool) -> None:
    plan = Plan("demo", Path("results"), discard=True)
    if good:
        confirm(plan, given, lambda question: typed)
        return
    with pytest.raises(ConfigError, match="nothing was deleted"):
        confirm(plan, given, lambda question: typed)


def test_without_discard_nobody_is_asked() -> None:
    confirm(Plan("demo", Path("results")), "", lambda question: pytest.fail("asked"))


# --- what is left -------------------------------------------------------------------------------------


def snapshot(aws: EmulatedAws, made: dict[str, str]) -> str:
    ec2 = aws.client("ec2")
    disk = ec2.create_volume(Size=1, AvailabilityZone="us-east-1a")["VolumeId"]
    tags = [{"ResourceType": "snapshot", "Tags": TAGS}]
    found = str(ec2.create_snapshot(VolumeId=disk, TagSpecifications=tags)["SnapshotId"])
    ec2.delete_volume(VolumeId=disk)
    return found


def interface(aws: EmulatedAws, made: dict[str, str]) -> str:
    ec2 = aws.client("ec2")
    net = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=net, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    tags = [{"ResourceType": "network-interface", "Tags": TAGS}]
    made_one = ec2.create_network_interface(SubnetId=subnet, TagSpecifications=tags)
    return str(made_one["NetworkInterface"]["NetworkInterfaceId"])


def log_group(aws: EmulatedAws, made: dict[str, str]) -> str:
    """As a function makes it for itself, outside of the stack and without a tag."""
    name = f"/aws/lambda/{made['AWS::Lambda::Function']}"
    aws.client("logs").create_log_group(logGroupName=name)
    return name


def tagged_log_group(aws: EmulatedAws, made: dict[str, str]) -> str:
    aws.client("logs").create_log_group(logGroupName="/mine/x", tags={"signspot:run": "demo"})
    return "/mine/x"


def parameter(aws: EmulatedAws, made: dict[str, str]) -> str:
    aws.client("ssm").put_parameter(Name="/signspot/x", Value="1", Type="String", Tags=TAGS)
    return "/signspot/x"


def group(aws: EmulatedAws, made: dict[str, str]) -> str:
    made_one = aws.client("ec2").create_security_group(
        GroupName="x", Description="x", TagSpecifications=[{"ResourceType": "security-group", "Tags": TAGS}]
    )
    return str(made_one["GroupId"])


def gateway(aws: EmulatedAws, made: dict[str, str]) -> str:
    ec2 = aws.client("ec2")
    tags = [{"ResourceType": "internet-gateway", "Tags": TAGS}]
    found = ec2.create_internet_gateway(TagSpecifications=tags)["InternetGateway"]["InternetGatewayId"]
    net = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    ec2.attach_internet_gateway(InternetGatewayId=found, VpcId=net)
    return str(found)


def topic(aws: EmulatedAws, made: dict[str, str]) -> str:
    return str(aws.client("sns").create_topic(Name="x", Tags=TAGS)["TopicArn"])


def bucket(aws: EmulatedAws, made: dict[str, str]) -> str:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="x-left")
    s3.put_bucket_tagging(Bucket="x-left", Tagging={"TagSet": TAGS})
    s3.put_bucket_versioning(Bucket="x-left", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2"):
        s3.put_object(Bucket="x-left", Key="k", Body=body)
    s3.delete_object(Bucket="x-left", Key="k")
    return "x-left"


LEFT = [snapshot, interface, log_group, tagged_log_group, parameter, group, gateway, topic, bucket]


def test_what_is_left_is_named_and_its_command_removes_it(account: Account) -> None:
    aws = account.aws
    made = deploy(aws)
    left = [leave(aws, made) for leave in LEFT]
    box, ec2 = instances(aws)[0], aws.client("ec2")
    disk = box["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]  # outlives its instance and has no tag
    account.before["UpdateAutoScalingGroup"] = lambda: ec2.detach_volume(
        VolumeId=disk, InstanceId=box["InstanceId"], Device="/dev/sda1"
    )
    left.append(disk)
    code, text = account.destroy()
    assert code == CloudError.exit_code
    commands = dict(re.findall(r"left: [^:]+: (.+); removed by:\n +(.+)\n", text))
    assert set(commands) == set(left)
    assert f"left: {len(left)} " in text
    assert {one["id"]: one["remove"] for one in account.printed["left"]} == commands
    environment = aws.environment(os.environ) | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = "\n".join(commands.values())
    subprocess.run(["bash", "-ec", script], env=environment, check=True, capture_output=True, cwd=account.to)
    code, text = account.destroy()
    assert code == 0, text


def test_what_a_failed_deletion_leaves_is_named_with_reasons_and_commands(account: Account) -> None:
    """A bucket that nobody empties: CloudFormation cannot delete it, nor says this command that all is well."""
    aws, body = account.aws, template("demo")
    emptying = [name for name, one in body["Resources"].items() if one["Type"] == "Custom::S3AutoDeleteObjects"]
    for name in emptying:
        del body["Resources"][name]
    made = deploy(aws, body=body)
    put_model(aws.client("s3"), made["AWS::S3::Bucket"])
    code, text = account.destroy()
    assert code == CloudError.exit_code
    assert account.calls.count("DeleteStack") == 2
    assert "BucketNotEmpty" in text
    assert f"buckets: {made['AWS::S3::Bucket']}; removed by:\n  signspot destroy demo --with-bucket" in text
    assert "stacks: arn:aws:cloudformation" in text
    code, text = account.destroy(with_bucket=True)
    assert "failed before:" in text
    code, text = account.destroy()
    assert code == 0, text


def test_nothing_of_others_is_named_or_touched(account: Account) -> None:
    aws = account.aws
    mine, other = deploy(aws, "demo"), deploy(aws, "demo-2")
    put_training(aws.client("s3"), other["AWS::S3::Bucket"], "demo-2")
    for service, call, arguments in (
        ("s3", "create_bucket", {"Bucket": "signspot-demo-runbucket-notours"}),
        ("logs", "create_log_group", {"logGroupName": "/aws/lambda/signspot-demo-mine"}),
        ("ec2", "create_volume", {"Size": 1, "AvailabilityZone": "us-east-1a"}),
        ("sns", "create_topic", {"Name": "signspot-demo-topic"}),
    ):
        getattr(aws.client(service), call)(**arguments)
    code, text = account.destroy("demo")
    assert code == 0, text
    assert "demo-2" not in text.replace(str(account.to), "")
    assert not [one for kind, one in other.items() if kind.startswith("AWS::EC2::VPC") and one in text]
    running = [one for one in instances(aws) if one["State"]["Name"] == "running"]
    assert [tag["Value"] for one in running for tag in one["Tags"] if tag["Key"] == "signspot:run"] == ["demo-2"]
    assert account.stacks() == ["signspot-demo-2"]
    assert mine["stack"] != other["stack"]
    assert account.destroy("demo-2")[0] == 0


# --- again, and in the middle ---------------------------------------------------------------------------


def test_twice(account: Account) -> None:
    deploy(account.aws)
    assert account.destroy()[0] == 0
    code, text = account.destroy()
    assert code == 0
    assert "there is no stack signspot-demo any more" in text
    assert re.search(r"VPCs +│ 1 +│ 0", text), "a deleted stack's resources are asked for by their ids"


def test_a_run_nobody_knows_is_an_error_and_not_a_zero(account: Account) -> None:
    deploy(account.aws)
    with pytest.raises(CloudError, match="never was a run 'dmeo' in us-east-1"):
        account.destroy("dmeo")


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED"])
def test_a_half_created_stack(account: Account, status: str) -> None:
    body = template("demo")
    wanted = ("AWS::EC2::VPC", "AWS::S3::Bucket", "AWS::EC2::InternetGateway")
    body["Resources"] = {name: one for name, one in body["Resources"].items() if one["Type"] in wanted}
    body.pop("Outputs")
    made = deploy(account.aws, body=body)
    account.set_status(made["stack"], status)
    code, text = account.destroy()
    assert code == 0, text


@pytest.mark.parametrize("status", ["CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_a_stack_that_another_operation_has_is_not_touched(account: Account, status: str) -> None:
    account.set_status(deploy(account.aws)["stack"], status)
    with pytest.raises(CloudError, match=f"{status}: another operation has it") as caught:
        account.destroy()
    assert "signspot stop demo" in caught.value.mend
    assert not {"UpdateAutoScalingGroup", "DeleteStack"} & set(account.calls)


def test_a_deletion_that_is_under_way_is_followed_to_its_end(account: Account) -> None:
    """As after Ctrl-C in the middle, from another laptop."""
    made = deploy(account.aws)
    put_model(account.aws.client("s3"), made["AWS::S3::Bucket"])
    account.set_status(made["stack"], "DELETE_IN_PROGRESS")
    stacks = cloudformation_backends[account.aws.account][account.aws.region]
    account.clock.later.append((15, lambda: stacks.delete_stack(made["stack"])))
    code, text = account.destroy()
    assert code == 0, text
    assert "is being deleted already" in text
    assert "DeleteStack" not in account.calls
    assert account.clock.now >= 15


def test_a_deletion_that_somebody_else_began_and_that_fails_is_not_begun_again_unfetched(account: Account) -> None:
    """Its results may all be there yet: the next `signspot destroy` fetches them first."""
    made = deploy(account.aws)
    put_model(account.aws.client("s3"), made["AWS::S3::Bucket"])
    account.set_status(made["stack"], "DELETE_IN_PROGRESS")
    account.clock.later.append((15, lambda: account.set_status(made["stack"], "DELETE_FAILED")))
    code, text = account.destroy()
    assert code == CloudError.exit_code
    assert "DeleteStack" not in account.calls
    assert "removed by:\n  signspot destroy demo\n" in text
    assert account.aws.client("s3").head_bucket(Bucket=made["AWS::S3::Bucket"])
    code, text = account.destroy()
    assert code == 0, text
    assert "model/model.keras" in files_below(account.to / "demo")


def test_a_vpc_among_many_that_are_gone_is_looked_into(account: Account) -> None:
    ec2, asked = account.aws.client("ec2"), []
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="x", Description="x", VpcId=vpc)["GroupId"]
    known = Known("demo", account.aws.account)
    known.ids["VPCs"] = {vpc} | {f"vpc-{number:08x}" for number in range(120)}

    def client(service: str) -> Any:
        made = account.aws.client(service)
        made.meta.events.register(
            "provide-client-params.ec2",
            lambda params, **_: asked.extend(len(one["Values"]) for one in params.get("Filters", ())),
        )
        return made

    left = ask_again(client, known)
    assert left["VPCs"] == {vpc} and group in left["security groups"]
    assert max(asked) <= 50


def test_interrupted_in_the_fetch_and_given_again(account: Account) -> None:
    made = deploy(account.aws)
    put_model(account.aws.client("s3"), made["AWS::S3::Bucket"])

    account.aws.fault = lambda environ: (500, {}, b"") if "model.keras" in environ["PATH_INFO"] else None
    with pytest.raises(StorageError):
        account.destroy()
    account.aws.fault = None
    assert account.destroy()[0] == 0
    assert "model/model.keras" in files_below(account.to / "demo")


def test_expired_credentials_are_one_message(account: Account) -> None:
    deploy(account.aws)
    error = b"<Error><Code>ExpiredToken</Code><Message>The token has expired</Message></Error>"
    body = b"<ErrorResponse>" + error + b"</ErrorResponse>"
    account.aws.fault = lambda environ: (403, {"Content-Type": "text/xml"}, body)
    with pytest.raises(CloudError, match="cannot be destroyed") as caught:
        account.destroy()
    assert "log in to AWS" in caught.value.mend
    assert "expired" in caught.value.why


@contextmanager
def writing(account: Account, bucket: str) -> Iterator[list[int]]:
    """The box writes a new version every moment, for as long as its instance lives."""
    written, over = [0], threading.Event()
    s3 = account.aws.client("s3")

    def write() -> None:
        while not over.is_set() and any(one["State"]["Name"] == "running" for one in instances(account.aws)):
            with suppress(s3.exceptions.NoSuchBucket):
                s3.put_object(Bucket=bucket, Key="runs/demo/status.json", Body=status)
                written[0] += 1

    status = s3.get_object(Bucket=bucket, Key="runs/demo/status.json")["Body"].read()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        while written[0] < 2:
            time.sleep(0.01)
        yield written
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize("plain", [True, False])
def test_a_run_that_is_still_writing_can_be_destroyed(account: Account, plain: bool) -> None:
    """By CloudFormation alone, as `cdk destroy` does, and by our command; the bucket is versioned and not empty."""
    made = deploy(account.aws)
    bucket = made["AWS::S3::Bucket"]
    put_training(account.aws.client("s3"), bucket)
    with writing(account, bucket):
        if plain:
            account.aws.client("cloudformation").delete_stack(StackName="signspot-demo")
        else:
            assert account.destroy()[0] == 0
    assert account.stacks() == []
    assert bucket not in [one["Name"] for one in account.aws.client("s3").list_buckets()["Buckets"]]


def test_every_type_of_the_template_is_asked_for_or_part_of_what_is() -> None:
    types = {one["Type"] for one in template("demo")["Resources"].values()}
    assert types <= set(KIND_OF_TYPE) | set(PARTS)


# --- run.keep_results -----------------------------------------------------------------------------------


def test_kept_results_stay_until_they_are_asked_for(account: Account) -> None:
    s3 = account.aws.client("s3")
    kept = deploy(account.aws, body=template("demo", keep=True))["AWS::S3::Bucket"]
    put_model(s3, kept)
    code, text = account.destroy()
    assert code == 0, text
    assert f"bucket {kept}; removed by: signspot destroy demo --with-bucket" in text
    assert account.printed["kept"] == [kept] and not account.printed["left"]
    assert s3.head_bucket(Bucket=kept)
    again = deploy(account.aws)["AWS::S3::Bucket"]
    put_training(s3, again)
    code, text = account.destroy(with_bucket=True)
    assert code == 0, text
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["cdk-hnb659fds-assets-123456789012-us-east-1"]
    assert "model/model.keras" in files_below(account.to / kept)
    assert "checkpoints/3-c/state.npz" in files_below(account.to / "demo")


def test_a_kept_bucket_that_cannot_be_fetched_is_not_removed(account: Account) -> None:
    kept = deploy(account.aws, body=template("demo", keep=True))["AWS::S3::Bucket"]
    assert account.destroy()[0] == 0
    broken_model(account, kept)
    with pytest.raises(StorageError):
        account.destroy(with_bucket=True)
    assert account.aws.client("s3").head_bucket(Bucket=kept)
    assert account.destroy(with_bucket=True, discard=True)[0] == 0
