"""Runs in an emulated account, as our template makes them, without the CDK CLI: for tests of the command line."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.layout import RunLayout
from contract.status import Event, Latest, Manifest, ManifestFile, Phase, Progress, Status
from rehearsal.aws import EmulatedAws

GOLDEN = Path(__file__).parents[1] / "template/golden-opened.json"
CLUSTER = GOLDEN.with_name("golden-cluster.json")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REPORT = "<!doctype html><title>日本</title>"
MODEL = {"model.keras": b"weights" * 1000, "metrics.json": b"{}"}


def template(run: str, keep: bool = False, golden: Path = GOLDEN) -> dict[str, Any]:
    """Our template, for another run; `keep` as `run.keep_results` does."""
    body: dict[str, Any] = json.loads(golden.read_text().replace("signspot-demo", f"signspot-{run}"))
    text = json.dumps(body).replace('"Value": "demo"', f'"Value": "{run}"')
    body = json.loads(text)
    if keep:
        body["Resources"]["RunBucket"] |= {"DeletionPolicy": "Retain"}
        emptying = [name for name, one in body["Resources"].items() if one["Type"] == "Custom::S3AutoDeleteObjects"]
        for name in emptying:
            del body["Resources"][name]
    return body


def prepare(aws: EmulatedAws) -> None:
    """What `cdk bootstrap` and the upload of assets leave."""
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("index.js", "")
    s3, bucket = aws.client("s3"), f"cdk-hnb659fds-assets-{aws.account}-{aws.region}"
    s3.create_bucket(Bucket=bucket)
    aws.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
    for one in template("demo")["Resources"].values():
        if one["Type"] == "AWS::Lambda::Function":
            s3.put_object(Bucket=bucket, Key=one["Properties"]["Code"]["S3Key"], Body=bundle.getvalue())


def deploy(aws: EmulatedAws, run: str = "demo", body: dict[str, Any] | None = None) -> dict[str, str]:
    """Create the run's stack; returns physical ids by CloudFormation's type."""
    made = aws.client("cloudformation").create_stack(
        StackName=f"signspot-{run}",
        TemplateBody=json.dumps(body or template(run)),
        Tags=[{"Key": "signspot:run", "Value": run}],
        Capabilities=["CAPABILITY_IAM"],
    )
    resources = aws.client("cloudformation").list_stack_resources(StackName=made["StackId"])
    found = {one["ResourceType"]: one["PhysicalResourceId"] for one in resources["StackResourceSummaries"]}
    return found | {"stack": made["StackId"]}


def manifest(files: dict[str, bytes], name: str, step: int) -> Manifest:
    listed = tuple(
        ManifestFile(name=file, size=len(body), sha256=hashlib.sha256(body).hexdigest()) for file, body in files.items()
    )
    return Manifest(id=name, step=step, epoch=1, instance="i-1", time=NOW, files=listed)


def put_model(s3: Any, bucket: str, run: str = "demo", files: dict[str, bytes] | None = None) -> None:
    layout, files = RunLayout(run), MODEL if files is None else files
    for name, body in files.items():
        s3.put_object(Bucket=bucket, Key=layout.model + name, Body=body)
    s3.put_object(Bucket=bucket, Key=layout.model_manifest, Body=manifest(files, "model", 7).model_dump_json())


def put_checkpoint(s3: Any, bucket: str, name: str, step: int, run: str = "demo", content: bytes = b"state") -> None:
    layout, files = RunLayout(run), {"state.npz": content + name.encode()}
    for file, body in files.items():
        s3.put_object(Bucket=bucket, Key=layout.checkpoint(name) + file, Body=body)
    body = manifest(files, name, step).model_dump_json()
    s3.put_object(Bucket=bucket, Key=layout.checkpoint_manifest(name), Body=body)


def put_training(s3: Any, bucket: str, run: str = "demo", phase: Phase = Phase.TRAINING) -> None:
    """Three checkpoints, of which the oldest is the best; two logs, two events, a status, a report of what is over."""
    layout = RunLayout(run)
    for name, step in (("3-c", 3), ("2-b", 2), ("1-a", 1)):
        put_checkpoint(s3, bucket, name, step, run)
    latest = Latest(epoch=1, checkpoints=("3-c", "2-b"), best="1-a", best_metric=0.1)
    s3.put_object(Bucket=bucket, Key=layout.latest, Body=latest.model_dump_json())
    for stream, offset, text in (("trainer", 0, b"one\n"), ("trainer", 4, b"two\n"), ("boot", 0, b"booted\n")):
        s3.put_object(Bucket=bucket, Key=layout.log_chunk("i-1", stream, offset), Body=text)
    for time, kind in (("1", "booting"), ("2", "training")):
        event = Event(time=NOW, kind=kind, instance="i-1")
        s3.put_object(Bucket=bucket, Key=layout.event(time, "x"), Body=event.model_dump_json(indent=1))
    status = Status(run=run, phase=phase, heartbeat=NOW, progress=Progress(step=3, metrics={"loss": 0.5}))
    s3.put_object(Bucket=bucket, Key=layout.status, Body=status.model_dump_json())
    if phase.final:
        s3.put_object(Bucket=bucket, Key=layout.report, Body=REPORT.encode())


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def recording(aws: EmulatedAws, calls: list[str], before: dict[str, Callable[[], object]]) -> Callable[[str], Any]:
    """The administrator's clients; the operations they are asked for are added to `calls`.

    What `before` has for an operation happens just before it, once.
    """

    def record(model: Any, **_: Any) -> None:
        calls.append(model.name)
        if act := before.pop(model.name, None):
            act()

    def client(service: str) -> Any:
        made = aws.client(service)
        made.meta.events.register("before-call", record)
        return made

    return client
