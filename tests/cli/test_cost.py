"""`signspot cost`: what is asked of AWS for a receipt, also after `destroy`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto.ce.models import ce_backends
from moto.s3.models import s3_backends
from rich.console import Console
from typer.testing import CliRunner

from cli.cost import receipt_of, show
from cli.main import app
from cli.tariff import on_demand_price, spot_prices
from cli.traces import Traces, sightings, traces_in
from contract.errors import CloudError, StorageError
from contract.layout import RunLayout
from contract.receipt import Receipt, Sighting
from contract.status import Event, Machine
from rehearsal.aws import EmulatedAws
from tests.cli import schemas
from tests.cli.account import Account
from tests.cli.runs import deploy, template

LAYOUT = RunLayout("demo")


@pytest.fixture
def account(emulated: EmulatedAws, at_a_laptop: None) -> Iterator[Account]:
    account = Account(emulated)
    yield account
    account.clear()


def typed(*words: str) -> Any:
    return CliRunner().invoke(app, ["cost", "demo", *words], env={"COLUMNS": "200"})


def tell(account: Account, bucket: str, began: datetime) -> None:
    """Two boxes: one that was interrupted after half an hour, one that was done after another."""
    lives = [("i-0a", 0, 30, "interrupted"), ("i-0b", 31, 61, "done")]
    for instance, first, last, how in lives:
        launched = began + timedelta(minutes=first)
        machine = Machine(type="g4dn.xlarge", zone="us-east-1a", launched=launched, volume_gb=100)
        told = [
            Event(time=launched + timedelta(minutes=1), kind="booting", instance=instance, machine=machine),
            Event(time=began + timedelta(minutes=last), kind=how, instance=instance),
        ]
        for event in told:
            key = LAYOUT.event(event.time.strftime("%Y%m%dT%H%M%SZ"), "x")
            account.aws.client("s3").put_object(Bucket=bucket, Key=key, Body=event.model_dump_json())


def began() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


def with_run(account: Account, *, keep: bool = False) -> str:
    made = deploy(account.aws, body=template("demo", keep))
    account.buckets["demo"] = made["AWS::S3::Bucket"]
    account.stop(now=True)
    tell(account, account.buckets["demo"], began())
    return account.buckets["demo"]


def attempts(receipt: Any) -> list[tuple[str, float]]:
    return [(one["instance"], one["seconds"]) for one in receipt["attempts"] if one["instance"].startswith("i-0")]


def test_the_receipt_of_a_run_is_what_its_schema_says(account: Account) -> None:
    with_run(account)
    shown = typed("--json")
    assert shown.exit_code == 0, shown.output
    found = schemas.check("cost", shown.stdout)
    assert {("i-0a", 1800.0), ("i-0b", 1800.0)} <= set(attempts(found))
    assert {line["what"] for line in found["lines"]} == {"volumes", "public IPv4", "S3 storage"}
    assert found["on_demand_usd"] == pytest.approx(0.526 * sum(one["seconds"] for one in found["attempts"]) / 3600)
    assert 0 < found["saved_percent"] < 100
    text = typed().output
    for word in ("i-0a", "g4dn.xlarge", "us-east-1a", "1800", "estimate", "on demand", "% saved", "total"):
        assert word in text
    assert "last sign of life" in text


def test_the_box_that_never_wrote_a_word_is_counted_because_ec2_knows_it(account: Account) -> None:
    box = account.deploy("silent")
    (one,) = receipt_of(account.client, "silent", datetime.now(UTC) + timedelta(hours=1)).attempts
    assert one.instance == box
    assert (one.ended, one.end_is_certain) == (None, True)
    assert one.seconds == pytest.approx(3600, abs=60)


def test_after_destroy_the_bucket_that_was_kept_tells(account: Account) -> None:
    bucket = with_run(account, keep=True)
    account.aws.client("cloudformation").delete_stack(StackName="signspot-demo")
    assert account.aws.client("s3").head_bucket(Bucket=bucket)
    found = schemas.check("cost", typed("--json").stdout)
    assert {("i-0a", 1800.0), ("i-0b", 1800.0)} <= set(attempts(found))
    assert "the stack is gone: read from the bucket that was kept" in found["notes"]
    s3_backends[account.aws.account]["aws"].buckets.pop(bucket)  # with all that is in it


def test_after_destroy_what_was_fetched_tells(account: Account, tmp_path: Path) -> None:
    with_run(account)
    CliRunner().invoke(app, ["fetch", "demo", "--to", str(tmp_path)])
    account.aws.client("cloudformation").delete_stack(StackName="signspot-demo")
    shown = typed()
    assert "nothing is left of run 'demo'" in str(shown.exception)
    assert "signspot cost demo --from results/demo" in str(shown.exception)
    found = schemas.check("cost", typed("--from", str(tmp_path / "demo"), "--json").stdout)
    assert {("i-0a", 1800.0), ("i-0b", 1800.0)} <= set(attempts(found))


@pytest.mark.parametrize("text", [None, "{", '{"time": "soon"}'])
def test_a_folder_without_events_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(StorageError, match="holds no events of a run"):
        traces_in(tmp_path)


def test_a_stack_that_cannot_be_looked_up_is_not_taken_for_gone(account: Account) -> None:
    with_run(account)
    account.aws.fault = lambda environ: (
        (403, {}, b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>")
        if "/cloudformation/" in environ.get("HTTP_AUTHORIZATION", "")
        else None
    )
    with pytest.raises(CloudError, match="AccessDenied"):
        receipt_of(account.client, "demo", datetime.now(UTC))


def test_the_group_knows_best_when_its_boxes_began_and_ended() -> None:
    """As EC2 Auto Scaling describes its activities; the emulation has none."""
    autoscaling = boto3.client("autoscaling", "us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    said = [
        ("Terminating EC2 instance: i-0a", 90, "Successful"),
        ("Launching a new EC2 instance: i-0a", 0, "Successful"),
        ("Launching a new EC2 instance.  Status Reason: There is no Spot capacity available", 5, "Failed"),
    ]
    activities = [
        {
            "ActivityId": text,
            "AutoScalingGroupName": "group",
            "Cause": "-",
            "Description": text,
            "StartTime": noon + timedelta(minutes=minutes),
            "StatusCode": code,
        }
        for text, minutes, code in said
    ]
    event = Event(
        time=noon + timedelta(minutes=2), kind="booting", instance="i-0a", machine=Machine(type="g4dn.xlarge")
    )
    with Stubber(autoscaling) as stub:
        stub.add_response("describe_scaling_activities", {"Activities": activities})

        def client(service: str) -> Any:
            if service == "autoscaling":
                return autoscaling
            raise CloudError("not asked here")

        seen = sightings(client, "demo", Traces(events=[event], groups=["group"]))
    assert list(seen) == ["i-0a"]
    assert (seen["i-0a"].began, seen["i-0a"].end()) == (noon, (noon + timedelta(minutes=90), True))


def stubbed(service: str, operation: str, answer: Any) -> Any:
    made = boto3.client(service, "us-east-1", aws_access_key_id="k", aws_secret_access_key="s")  # type: ignore[call-overload]
    stub = Stubber(made)
    if isinstance(answer, str):
        stub.add_client_error(operation, answer, "no")
    else:
        stub.add_response(operation, answer)
    stub.activate()
    return made


PRODUCT = {
    "terms": {"OnDemand": {"a": {"priceDimensions": {"b": {"unit": "Hrs", "pricePerUnit": {"USD": "0.5260000000"}}}}}}
}


@pytest.mark.parametrize(
    ("answer", "type_", "region", "usd"),
    [
        ({"PriceList": [json.dumps(PRODUCT)]}, "g5.xlarge", "eu-west-1", 0.526),
        ({"PriceList": []}, "g5.xlarge", "us-east-1", None),
        ({"PriceList": []}, "g4dn.xlarge", "us-east-1", 0.526),
        ({"PriceList": []}, "g4dn.xlarge", "eu-west-1", None),
        ({"PriceList": ["{"]}, "g4dn.xlarge", "us-east-1", 0.526),
        ("AccessDeniedException", "g4dn.xlarge", "us-east-1", 0.526),
    ],
)
def test_the_price_on_demand(answer: Any, type_: str, region: str, usd: float | None) -> None:
    client = stubbed("pricing", "get_products", answer)
    assert on_demand_price(lambda _: client, type_, region) == usd


def test_spot_prices_are_those_of_the_types_that_ran_since_the_first_began() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    changes = [(2, "0.30"), (-5, "0.20")]
    history = [
        {
            "InstanceType": "g4dn.xlarge",
            "AvailabilityZone": "us-east-1a",
            "SpotPrice": price,
            "Timestamp": noon + timedelta(hours=hours),
        }
        for hours, price in changes
    ]
    client = stubbed("ec2", "describe_spot_price_history", {"SpotPriceHistory": history})
    seen = Sighting("i-0a", Machine(type="g4dn.xlarge", zone="us-east-1a", launched=noon))
    notes: list[str] = []
    found = spot_prices(lambda _: client, [seen], noon + timedelta(hours=4), notes)
    assert found == {
        ("g4dn.xlarge", "us-east-1a"): [(noon - timedelta(hours=5), 0.2), (noon + timedelta(hours=2), 0.3)]
    }
    refused = stubbed("ec2", "describe_spot_price_history", "UnauthorizedOperation")
    assert spot_prices(lambda _: refused, [seen], noon, notes) == {}
    assert "UnauthorizedOperation" in notes[0]


@pytest.mark.parametrize("arrived", [True, False])
def test_what_was_billed_is_asked_only_when_told_to(account: Account, arrived: bool) -> None:
    with_run(account)
    day = {"Start": "2026-11-19", "End": "2026-11-20"}
    groups = [{"Keys": ["Amazon EC2"], "Metrics": {"UnblendedCost": {"Amount": "0.21", "Unit": "USD"}}}]
    answer = {"ResultsByTime": [{"TimePeriod": day, "Groups": groups if arrived else []}]}
    explorer = ce_backends[account.aws.account]["aws"]
    explorer.cost_usage_results.clear()  # moto answers the same question as before
    queue = explorer.cost_usage_results_queue
    queue.append(answer)
    assert schemas.check("cost", typed("--json").stdout)["billed"] is None
    assert queue, "the question costs $0.01"
    shown = typed("--billed", "--json")
    assert shown.exit_code == 0, shown.output
    found = schemas.check("cost", shown.stdout)
    assert not queue
    if arrived:
        assert (found["billed"]["usd"], found["billed"]["services"]) == (0.21, {"Amazon EC2": 0.21})
    else:
        assert found["billed"] is None
        assert any("cost allocation tag" in note for note in found["notes"])


def test_a_receipt_fits_on_eighty_columns(account: Account) -> None:
    with_run(account)
    receipt: Receipt = receipt_of(account.client, "demo", datetime.now(UTC))
    text = io.StringIO()
    show(receipt, Console(file=text, width=80))
    assert max(len(line) for line in text.getvalue().splitlines()) <= 80
    assert f"${receipt.total_usd:.4f}" in text.getvalue()
