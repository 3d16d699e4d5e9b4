"""`signspot check` against moto: what is found, what mends it, what may not be asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from botocore.stub import Stubber
from rich.console import Console
from typer.testing import CliRunner

from cli.check import Laptop, Report, check, show
from cli.main import app
from cli.preflight import account, laptop, market, quota
from cli.preflight.facts import Facts, Price
from cli.preflight.finding import Check, Finding, Verdict, good, run_checks
from cli.preflight.forecast import GUESSED, expected_end, forecast
from cli.preflight.screen import show_report
from cli.project import open_project
from contract.ceiling import Ceiling
from contract.config import Config, LimitsConfig, MachineConfig
from contract.errors import ConfigError
from contract.status import Event, Machine, Phase, Progress, Status
from rehearsal.quotas import QUOTAS, set_limit
from tests.cli import schemas

NOW = datetime(2026, 1, 8, tzinfo=UTC)
KEYS = SimpleNamespace(token=None)
SPOT = quota.G_AND_VT.spot.code
TYPES = ("g4dn.xlarge",)
ACCOUNT, REGION = "123456789012", "us-east-1"


@pytest.fixture
def cloud(s3: Any) -> Iterator[Any]:
    """An account that can have everything: bootstrapped, an image, a quota of 32 vCPUs."""
    clients: dict[str, Any] = {}
    lock = threading.Lock()

    def client(service: str) -> Any:
        with lock:
            return clients.setdefault(service, boto3.client(service))  # type: ignore[call-overload]

    image = client("ec2").register_image(Name="Deep Learning Base")["ImageId"]
    for name, value in (("/cdk-bootstrap/hnb659fds/version", "30"), ("/test/ami", image)):
        client("ssm").put_parameter(Name=name, Value=value, Type="String")
    with ExitStack() as stack:
        for target, name, replacement in QUOTAS:
            stack.enter_context(patch.object(target, name, replacement, create=not hasattr(target, name)))
        yield client


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two words, three clips each, one for each split."""
    folder = tmp_path / "signs"
    rows = ["path,label,split"]
    for word in ("bye", "hello"):
        (folder / word).mkdir(parents=True)
        for number, split in enumerate(("train", "val", "test")):
            clip = np.random.default_rng(number + 10 * len(word)).random((4, 2, 21, 3), np.float32)
            np.save(folder / word / f"{number}.npy", clip)
            rows.append(f"{word}/{number}.npy,{word},{split}")
    (folder / "dataset.csv").write_text("\n".join(rows) + "\n")
    return folder


def refusing(client: Any, operation: str, code: str = "AccessDenied") -> Any:
    """The same clients, of whom one operation is refused."""

    def other(service: str) -> Any:
        made = boto3.client(service)  # type: ignore[call-overload]

        def refuse(model: Any, **_: Any) -> None:
            if model.name == operation:
                raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

        made.meta.events.register("before-call", refuse)
        return made

    return other


def only(findings: Any) -> Finding:
    (finding,) = findings
    assert isinstance(finding, Finding)
    return finding


def text_of(report: Report, width: int = 80) -> str:
    out = StringIO()
    show(report, Console(file=out, width=width), NOW)
    return out.getvalue()


def mine(cloud: Any, home: Path, credentials: Any = KEYS, region: str | None = REGION) -> Laptop:
    return Laptop(cloud, credentials, region, address=lambda: "203.0.113.7/32", home=home)


# --- the whole -----------------------------------------------------------------------------------------


def test_an_account_that_has_everything_is_ready(cloud: Any, data: Path, tmp_path: Path) -> None:
    project = open_project(["run=demo", f"data.path={data}", "ami_parameter=/test/ami"])
    report, facts = check(project, mine(cloud, tmp_path), NOW)
    assert report.good, text_of(report)
    assert report.findings[0].check == "credentials"
    assert (report.account, report.region, report.run) == (ACCOUNT, REGION, "demo")
    assert report.dataset and (report.dataset.clips, report.dataset.words) == (6, 2)
    assert report.dataset.splits == {"train": 2, "val": 2, "test": 2}
    assert {price.zone for price in report.prices} > {"us-east-1a"}
    assert report.forecast and report.forecast.first_step_source == GUESSED and report.forecast.finish is None
    assert not facts.quota_missing
    schemas.check("check", report.model_dump_json())
    for width in (80, 120):
        shown = text_of(report, width)
        assert max(map(len, shown.splitlines())) <= width
        assert "nothing keeps this run from starting" in shown and "never measured on AWS" in " ".join(shown.split())


def test_an_account_that_does_not_answer_is_not_ready(data: Path, tmp_path: Path) -> None:
    """What a run that is up keeps, its ceiling too, would not be known: a deploy would show another one."""

    class Silent:
        def __getattr__(self, _operation: str) -> Any:
            raise ConnectTimeoutError(endpoint_url="https://sts")

    def silent(_service: str) -> Any:
        return Silent()

    project = open_project(["run=demo", f"data.path={data}"])
    report, _ = check(project, mine(silent, tmp_path), NOW)
    assert not report.good
    assert not [finding for finding in report.findings if finding.verdict is Verdict.BAD]
    assert "AWS did not say what a deploy has to know" in text_of(report)


def test_without_credentials_the_first_line_says_how_to_get_them_and_local_checks_still_run(
    data: Path, tmp_path: Path
) -> None:
    def nobody(service: str) -> Any:
        raise AssertionError(f"{service} was asked")

    project = open_project([f"data.path={data}"])
    report, _ = check(project, mine(nobody, tmp_path, credentials=None), NOW)
    assert not report.good
    assert "aws sso login" in text_of(report).splitlines()[0] or "aws configure" in text_of(report).splitlines()[0]
    found = {finding.check: finding.verdict for finding in report.findings}
    assert found["dataset"] is Verdict.GOOD and found["Node and CDK"] is Verdict.GOOD
    assert found["AWS"] is Verdict.UNKNOWN
    assert report.forecast and report.forecast.ceiling_usd > 0 and report.forecast.usd_per_hour_now is None


def test_the_command_exits_with_1_and_its_json_is_the_schemas(cloud: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check", "--json", "-c", "data.path=nowhere", "-c", "ami_parameter=/test/ami"])
    assert done.exit_code == 1, done.output
    schemas.check("check", done.stdout)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["dataset"]["verdict"] == "bad" and "signspot init" in found["dataset"]["mend"]


def test_a_setting_that_does_not_exist_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        open_project(["epoch=3"])


# --- how it is asked -----------------------------------------------------------------------------------


def test_what_may_not_be_asked_names_the_permission(cloud: Any) -> None:
    checks = {
        "GetServiceQuota": (
            "servicequotas",
            lambda c: quota.look_at_quotas(c, MachineConfig(instance_types=TYPES), "demo", Facts()),
        ),
        "DescribeSpotPriceHistory": ("ec2", lambda c: market.look_at_prices(c, TYPES, 1, NOW, Facts())),
        "GetParameters": ("ssm", lambda c: account.look_at_bootstrap(c, Facts())),
        "DescribeStacks": ("cloudformation", lambda c: account.look_at_run(c, "demo", 1, Facts())),
    }
    for code, (operation, (service, look)) in zip(("AccessDenied", "403") * 2, checks.items(), strict=True):
        client = refusing(cloud, operation, code)
        found = run_checks([Check(operation, lambda look=look, client=client: look(client))], 10)
        told = only([one for one in found if one.verdict is Verdict.UNKNOWN])
        assert told.text == f"could not be asked: {service}:{operation} is not allowed"
        assert "infra.deploy_policy" in told.mend


def test_a_check_that_hangs_is_told_and_holds_nobody_up() -> None:
    released = threading.Event()

    def hang() -> list[Finding]:
        released.wait(30)
        return []

    found = run_checks([Check("slow", hang), Check("quick", lambda: [good("quick", "well")])], 0.2)
    released.set()
    assert [(one.check, one.verdict) for one in found] == [("slow", Verdict.UNKNOWN), ("quick", Verdict.GOOD)]
    assert "no answer within 0.2 s" in found[0].text


# --- the account ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "words", "verdict"),
    [
        (None, "they do not expire", Verdict.GOOD),
        (NOW + timedelta(hours=3, minutes=5), "good for 3 h 05 min", Verdict.GOOD),
        (NOW + timedelta(minutes=4), "too short for a deploy", Verdict.WARNING),
        (NOW - timedelta(minutes=4), "expired", Verdict.WARNING),
    ],
)
def test_credentials_and_how_long_they_last(cloud: Any, until: Any, words: str, verdict: Verdict) -> None:
    facts = Facts()
    credentials = SimpleNamespace(token=None, _expiry_time=until)
    found = only(account.look_at_credentials(cloud, credentials, NOW, facts))
    assert words in found.text and found.verdict is verdict
    assert facts.account == ACCOUNT


def test_credentials_that_aws_does_not_accept(cloud: Any) -> None:
    client, facts = refusing(cloud, "GetCallerIdentity", "InvalidClientTokenId"), Facts()
    found = only(account.look_at_credentials(client, KEYS, NOW, facts))
    assert found.verdict is Verdict.BAD and "log in" in found.mend and not facts.account


@pytest.mark.parametrize(("version", "verdict"), [("6", Verdict.GOOD), ("5", Verdict.BAD), (None, Verdict.BAD)])
def test_the_bootstrap_version(cloud: Any, version: str | None, verdict: Verdict) -> None:
    if version:
        cloud("ssm").put_parameter(Name=account.BOOTSTRAP, Value=version, Type="String", Overwrite=True)
    else:
        cloud("ssm").delete_parameter(Name=account.BOOTSTRAP)
    found = only(account.look_at_bootstrap(cloud, Facts(account=ACCOUNT)))
    assert found.verdict is verdict
    assert verdict is Verdict.GOOD or found.mend.endswith(f"cdk bootstrap aws://{ACCOUNT}/{REGION}")


@pytest.mark.parametrize(
    ("status", "verdict", "mend"),
    [
        ("REVIEW_IN_PROGRESS", Verdict.GOOD, ""),
        ("UPDATE_IN_PROGRESS", Verdict.BAD, "wait"),
        ("ROLLBACK_COMPLETE", Verdict.BAD, "signspot destroy demo"),
        ("DELETE_FAILED", Verdict.BAD, "signspot destroy demo"),
    ],
)
def test_a_stack_that_cannot_be_deployed_over(status: str, verdict: Verdict, mend: str, s3: Any) -> None:
    client = boto3.client("cloudformation")
    stack = {"StackName": "signspot-demo", "CreationTime": NOW, "StackStatus": status}
    with Stubber(client) as stub:
        stub.add_response("describe_stacks", {"Stacks": [stack]})
        found = only(account.look_at_run(lambda _: client, "demo", 1, Facts()))
    assert found.verdict is verdict and mend in found.mend


KEPT = Ceiling(datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5), Decimal("0.5"), Decimal("4.00"))


def deployed(cloud: Any, ceiling: Ceiling) -> Facts:
    """A run that is up, as far as its stack says; its group is one that nobody made."""
    cloud("cloudformation").create_stack(
        StackName="signspot-demo",
        TemplateBody=json.dumps(
            {
                "Parameters": {name: {"Type": "String"} for name in ceiling.parameters},
                "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
                "Outputs": {"Bucket": {"Value": "bucket"}, "Group": {"Value": "no-such-group"}},
            }
        ),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in ceiling.parameters.items()],
    )
    return Facts(account=ACCOUNT)


def test_a_run_that_is_up_keeps_its_limits_and_is_not_started_by_a_deploy(cloud: Any) -> None:
    facts = deployed(cloud, KEPT)
    found = only(account.look_at_run(cloud, "demo", 1, facts))
    assert found.verdict is Verdict.WARNING and found.mend == "signspot restart demo"
    assert facts.up and facts.up.ceiling == KEPT and facts.up.desired == 0
    told = forecast(Config(limits=LimitsConfig(max_usd=900, max_hours=100)), [], facts.up, None, [], NOW)
    assert (told.ceiling_usd, told.usd_per_hour_most, told.stop_at) == (4.0, 0.5, KEPT.stop_at)


def test_a_run_whose_time_is_over_is_told_how_to_get_more(cloud: Any) -> None:
    facts = deployed(cloud, replace(KEPT, stop_at=KEPT.stop_at - timedelta(hours=6)))
    found = only(account.look_at_run(cloud, "demo", 1, facts))
    assert found.verdict is Verdict.WARNING and "signspot extend demo" in found.mend


# --- quotas --------------------------------------------------------------------------------------------


def quotas(cloud: Any, types: tuple[str, ...] = TYPES) -> tuple[Finding, Facts]:
    facts = Facts()
    found = {one.check: one for one in quota.look_at_quotas(cloud, MachineConfig(instance_types=types), "demo", facts)}
    return found["spot quota"], facts


def test_a_quota_of_nothing_is_asked_for_once(cloud: Any) -> None:
    set_limit(ACCOUNT, REGION, SPOT, 0)
    found, facts = quotas(cloud)
    assert found.verdict is Verdict.BAD and found.mend == "signspot check --request-quota"
    assert "0 vCPUs (L-3819A6DF), 0 in use; g4dn.xlarge needs 4" in found.text
    config = open_project().config
    first, case = quota.request_quota(cloud, facts, config)
    assert "4 vCPUs requested, PENDING" in first
    assert (
        "g4dn.xlarge" in case
        and "at most one instance" in case
        and SPOT in case
        and f"${config.limits.max_usd:g}" in case
    )
    again, _ = quota.request_quota(cloud, facts, config)
    assert "nothing new was requested" in again and "4 vCPUs were asked for on" in again
    history = cloud("service-quotas").list_requested_service_quota_change_history_by_quota(
        ServiceCode="ec2", QuotaCode=SPOT
    )["RequestedQuotas"]
    assert len(history) == 1
    found, _ = quotas(cloud)
    assert "were asked for on" in found.text and "wait" in found.mend


def test_a_request_that_another_was_quicker_with_is_no_error(cloud: Any) -> None:
    client = refusing(cloud, "RequestServiceQuotaIncrease", quota.ASKED_ALREADY)
    told = list(quota.request_quota(client, Facts(quota_missing={SPOT: 4}), open_project().config))
    assert "asked for already" in told[0]


def test_where_the_quota_suffices_nothing_is_requested(cloud: Any) -> None:
    found, facts = quotas(cloud)
    assert found.verdict is Verdict.GOOD and "32 vCPUs" in found.text
    assert "nothing was requested" in only_text(quota.request_quota(cloud, facts, open_project().config))


def only_text(lines: Iterator[str]) -> str:
    (line,) = lines
    return line


def test_spot_instances_that_run_count_but_not_those_of_this_run(cloud: Any) -> None:
    set_limit(ACCOUNT, REGION, SPOT, 4)
    for run in ("demo", "other"):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "signspot:run", "Value": run}]}]
        cloud("ec2").run_instances(
            ImageId="ami-12345678",
            InstanceType="g4dn.xlarge",
            MinCount=1,
            MaxCount=1,
            InstanceMarketOptions={"MarketType": "spot"},
            TagSpecifications=tags,
        )
        found, _ = quotas(cloud)
        assert found.verdict is (Verdict.GOOD if run == "demo" else Verdict.BAD), found.text
    assert "4 in use" in found.text and "signspot stop" in found.mend


def test_not_every_type_fits(cloud: Any) -> None:
    set_limit(ACCOUNT, REGION, SPOT, 4)
    found, facts = quotas(cloud, ("g4dn.xlarge", "g4dn.2xlarge"))
    assert found.verdict is Verdict.WARNING and not facts.quota_missing


def test_a_quota_that_nobody_ever_changed_is_awss_default(s3: Any) -> None:
    client = boto3.client("service-quotas")
    with Stubber(client) as stub:
        stub.add_client_error("get_service_quota", quota.UNSET)
        stub.add_response("get_aws_default_service_quota", {"Quota": {"Value": 0.0}})
        assert quota.limit_of(lambda _: client, quota.G_AND_VT.spot) == 0


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("g4dn.xlarge", quota.G_AND_VT),
        ("g5.xlarge", quota.G_AND_VT),
        ("g6e.2xlarge", quota.G_AND_VT),
        ("vt1.3xlarge", quota.G_AND_VT),
        ("p3.2xlarge", quota.P),
        ("p4d.24xlarge", quota.P),
        ("p5.48xlarge", None),
        ("t3.micro", quota.STANDARDS),
        ("m7i.large", quota.STANDARDS),
        ("trn1.2xlarge", None),
        ("inf2.xlarge", None),
    ],
)
def test_which_quota_counts_a_type(name: str, family: quota.Family | None) -> None:
    assert quota.family_of(name) == family


# --- the market ----------------------------------------------------------------------------------------


def test_a_price_is_weighted_by_the_time_it_held() -> None:
    changes = [(NOW - timedelta(days=9), 0.2), (NOW - timedelta(days=2), 0.5), (NOW - timedelta(hours=1), 0.3)]
    price = market.price_of("g4dn.xlarge", "us-east-1a", changes[::-1], 0.4, NOW)
    assert (price.now, price.median_7d, price.max_7d, price.fits) == (0.3, 0.2, 0.5, True)
    old = market.price_of("g4dn.xlarge", "us-east-1a", [(NOW - timedelta(days=30), 0.25)], 0.2, NOW)
    assert (old.now, old.median_7d, old.max_7d, old.fits) == (0.25, 0.25, 0.25, False)


@pytest.mark.parametrize(("highest", "verdict"), [(1.0, Verdict.GOOD), (0.25, Verdict.WARNING), (0.1, Verdict.BAD)])
def test_prices_against_what_the_run_accepts(highest: float, verdict: Verdict, s3: Any) -> None:
    client, facts = boto3.client("ec2"), Facts()
    history = [
        {"InstanceType": "g4dn.xlarge", "AvailabilityZone": zone, "SpotPrice": price, "Timestamp": NOW}
        for zone, price in (("us-east-1a", "0.30"), ("us-east-1b", "0.20"))
    ]
    with Stubber(client) as stub:
        stub.add_response("describe_spot_price_history", {"SpotPriceHistory": history})
        found = only(market.look_at_prices(lambda _: client, TYPES, highest, NOW, facts))
    assert found.verdict is verdict and "$0.2000 an hour (g4dn.xlarge, us-east-1b)" in found.text
    assert [price.zone for price in facts.prices] == ["us-east-1b", "us-east-1a"]
    assert ("max_price_per_hour=0.300" in found.mend) is (verdict is Verdict.BAD)


@pytest.mark.parametrize(
    ("types", "verdict"),
    [
        (("g4dn.xlarge",), Verdict.GOOD),
        (("g4dn.xlarge", "x9z.mega"), Verdict.WARNING),
        (("x9z.mega",), Verdict.BAD),
    ],
)
def test_where_a_type_is_offered(cloud: Any, types: tuple[str, ...], verdict: Verdict) -> None:
    found = only(market.look_at_zones(cloud, types))
    assert found.verdict is verdict
    assert verdict is Verdict.BAD or "g4dn.xlarge in us-east-1a" in found.text


# --- the laptop ----------------------------------------------------------------------------------------


def test_an_image_that_is_not_there_and_a_volume_too_small(cloud: Any) -> None:
    missing = only(laptop.look_at_image(cloud, open_project()))
    assert missing.verdict is Verdict.BAD and "has no parameter" in missing.text and "ami_parameter" in missing.mend
    client = boto3.client("ec2")
    image = {"ImageId": "ami-1", "BlockDeviceMappings": [{"Ebs": {"VolumeSize": 200}}]}
    with Stubber(client) as stub:
        stub.add_response("describe_images", {"Images": [image]})
        _, disk = laptop.look_at_image(
            lambda service: client if service == "ec2" else cloud(service), open_project(["ami_parameter=/test/ami"])
        )
    assert disk.verdict is Verdict.BAD and disk.mend == "-c volume_gb=220"


def test_a_closed_door_asks_nobody_for_an_address() -> None:
    def nobody() -> str:
        raise AssertionError("somebody was asked")

    assert only(laptop.look_at_address(open_project(), nobody)).verdict is Verdict.GOOD
    another = only(laptop.look_at_address(open_project(["ssh_from=203.0.113.9/32"]), lambda: "203.0.113.7/32"))
    assert another.verdict is Verdict.WARNING and "ssh_from=auto" in another.mend


def test_looking_for_a_key_makes_none(tmp_path: Path) -> None:
    project = open_project(["ssh_from=auto"])
    found = only(laptop.look_at_key(project, tmp_path))
    assert found.verdict is Verdict.WARNING and found.mend == "signspot key"
    assert not list(tmp_path.iterdir())
    missing = only(laptop.look_at_key(open_project(["ssh_from=auto", "public_key=no.pub"]), tmp_path))
    assert missing.verdict is Verdict.BAD


def test_a_dataset_is_read_and_not_written(data: Path) -> None:
    np.save(data / "hello/new.npy", np.ones((4, 2, 21, 3), np.float32))
    (data / "bye/1.npy").write_bytes(b"no keypoints")
    before = (data / "dataset.csv").read_bytes()
    facts = Facts()
    found = only(laptop.look_at_dataset(open_project([f"data.path={data}"]), facts))
    assert found.verdict is Verdict.BAD and "bye/1.npy" in found.text and found.mend == f"signspot dataset {data}"
    assert (data / "dataset.csv").read_bytes() == before


def test_a_dataset_that_is_the_whole_folder_is_a_warning(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "signspot.toml").write_text('[data]\npath = "."\n')
    monkeypatch.chdir(data)
    found = only(laptop.look_at_dataset(open_project(), Facts()))
    assert found.verdict is Verdict.WARNING and "results too" in found.text


def test_a_tool_that_cannot_be_started_is_told() -> None:
    def broken() -> list[Finding]:
        raise PermissionError("node: permission denied")

    assert only(run_checks([Check("Node and CDK", broken)], 5)).text == "node: permission denied"


def test_a_dataset_in_s3(cloud: Any) -> None:
    project, facts = open_project(["data.path=s3://bucket/signs"]), Facts()
    assert only(laptop.look_at_dataset_in_s3(cloud, project, facts)).verdict is Verdict.BAD
    cloud("s3").put_object(Bucket="bucket", Key="signs/dataset.csv", Body=b"path,label,split\na.npy,hello,train\n")
    assert only(laptop.look_at_dataset_in_s3(cloud, project, facts)).verdict is Verdict.GOOD
    assert facts.dataset and facts.dataset.clips == 1


def test_a_trainer_of_ones_own_is_looked_for(tmp_path: Path) -> None:
    own = open_project([f"code={tmp_path / 'code'}", 'trainer.command=["python", "train.py"]'])
    assert only(laptop.look_at_code(own)).verdict is Verdict.BAD
    (tmp_path / "code").mkdir()
    found = only(laptop.look_at_code(own))
    assert found.verdict is Verdict.GOOD and "python train.py" in found.text and "no requirements.txt" in found.text
    (tmp_path / "code/requirements.txt").touch()
    assert "no requirements.txt" not in only(laptop.look_at_code(own)).text


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_the_data_of_a_trainer_of_ones_own_is_not_looked_into(cloud: Any, tmp_path: Path, where: str) -> None:
    (tmp_path / "numbers.bin").write_bytes(b"no table")
    path = "s3://bucket/numbers" if where == "s3" else tmp_path
    own = open_project([f"data.path={path}", "code=code", 'trainer.command=["python", "train.py"]'])
    look = laptop.look_at_dataset_in_s3(cloud, own, Facts()) if where == "s3" else laptop.look_at_dataset(own, Facts())
    found = only(look)
    assert found.verdict is Verdict.GOOD and "run.code" in found.text


# --- the forecast --------------------------------------------------------------------------------------


def test_the_time_to_the_first_step_is_measured_where_the_run_has_been_up() -> None:
    def event(kind: str, seconds: int, instance: str) -> Event:
        machine = Machine(launched=NOW) if kind == "booting" and instance == "i-1" else None
        return Event(time=NOW + timedelta(seconds=seconds), kind=kind, instance=instance, machine=machine)

    events = [event("booting", 60, "i-1"), event("training", 300, "i-1"), event("booting", 400, "i-2")]
    found = forecast(Config(limits=LimitsConfig()), [], None, None, [*events, event("training", 500, "i-2")], NOW)
    assert found.first_step_seconds == (100, 300) and found.first_step_source.startswith("measured: 2 attempts")


def test_a_run_that_trains_is_done_at_its_own_pace() -> None:
    status = Status(
        run="demo",
        phase=Phase.TRAINING,
        since=NOW,
        heartbeat=NOW + timedelta(seconds=100),
        restored_step=100,
        progress=Progress(step=150, steps=250),
    )
    assert expected_end(status) == NOW + timedelta(seconds=300)
    assert expected_end(status.model_copy(update={"phase": Phase.BOOTING})) is None
    assert expected_end(status.model_copy(update={"heartbeat": NOW + timedelta(seconds=1)})) is None


def test_long_texts_and_many_pools_fit_into_eighty_columns() -> None:
    findings = [
        Finding(check="a check", verdict=verdict, text="word " * 60, mend="do-this " * 20) for verdict in Verdict
    ]
    prices = [
        Price(type="g4dn.12xlarge", zone=f"ap-southeast-{n}a", now=n, median_7d=n, max_7d=n, fits=n < 5)
        for n in range(20)
    ]
    out = StringIO()
    show_report(
        findings,
        prices,
        forecast(Config(limits=LimitsConfig()), prices, None, None, [], NOW),
        NOW,
        Console(file=out, width=80),
    )
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "12 cheapest of 20" in out.getvalue()
