"""Take any one statement from the box's role: the rehearsal fails, and says which permission is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.rehearsal_screen import Screen
from cli.stage import OVERRIDES, ROOT, Stage
from contract.config import load_config
from contract.errors import CloudError
from contract.status import Phase
from rehearsal.aws import EmulatedAws
from rehearsal.datacenter import Datacenter
from trainer.sample import make_sample

TRAINER = """
import os, pathlib, time
folder = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
for step in range(1, 9):
    (folder / f"step-{step}.ckpt").write_text("x" * step)
    for old in folder.glob("step-*"):
        if old.name != f"step-{step}.ckpt":
            old.unlink()
    time.sleep(1.5)
(pathlib.Path(os.environ["SM_MODEL_DIR"]) / "model.txt").write_text("model")
"""
LIMIT_SECONDS = 240
"""Well inside a test's own limit, so that a run that never ends is told with its console."""
NEEDED = {
    "ReadCode": "s3:GetObject",
    "ReadData": "s3:GetObject",
    "RunObjects": "s3:",
    "ListRun": "s3:ListBucket",
    "DropCheckpoints": "s3:DeleteObject",
    "EndOwnGroup": "autoscaling:TerminateInstanceInAutoScalingGroup",
}
"""Statement → what IAM refuses without it."""
OPTIONAL = {"ListData": "s3:ListBucket", "Notify": "sns:Publish"}
"""The same for what is there only with a dataset in S3 and with an address."""
BUCKET, PREFIX = "signs", "sample/"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_sample(folder, words=2, signers=4, per_word_and_signer=2)
    return folder


@pytest.fixture(scope="module")
def synthesised(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack of a run whose trainer takes seconds, as `cdk synth` leaves it."""
    return synthesise(tmp_path_factory.mktemp("synth"), {"data.path": str(data)})


@pytest.fixture(scope="module")
def with_options(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its dataset in S3, and with somebody who is told."""
    options = {"data.path": f"s3://{BUCKET}/{PREFIX}", "email": "you@example.org"}
    return synthesise(tmp_path_factory.mktemp("synth"), options)


def synthesise(folder: Path, settings: dict[str, str]) -> Path:
    settings = {**OVERRIDES, **settings, "keep_checkpoints": "2"}
    context = settings | {"trainer.command": json.dumps(["python", "-c", TRAINER])}
    subprocess.run(
        [sys.executable, str(ROOT / "app.py")],
        env={"PATH": str(Path(sys.executable).parent), "CDK_OUTDIR": str(folder / "out"), "HOME": str(folder)}
        | {"CDK_CONTEXT_JSON": json.dumps(context)},
        check=True,
    )
    return folder / "out"


def statements(template: dict[str, Any]) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Every statement of the box's policies, with the list it stands in."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::IAM::Policy":
            found = resource["Properties"]["PolicyDocument"]["Statement"]
            yield from ((found, statement) for statement in found)


def template_in(folder: Path) -> Path:
    return next(folder.glob("*.template.json"))


def sids(app: Path) -> set[str]:
    return {statement["Sid"] for _, statement in statements(json.loads(template_in(app).read_text()))}


def test_the_lists_above_are_the_whole_role(synthesised: Path, with_options: Path) -> None:
    assert sids(synthesised) == set(NEEDED)
    assert sids(with_options) == set(NEEDED) | set(OPTIONAL)


def without(statement: str, synthesised: Path, folder: Path) -> Path:
    shutil.copytree(synthesised, folder)
    template = json.loads(template_in(folder).read_text())
    for document, found in list(statements(template)):
        if found["Sid"] == statement:
            document.remove(found)
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] == "AWS::IAM::Policy" and not resource["Properties"]["PolicyDocument"]["Statement"]:
            del template["Resources"][name]
    template_in(folder).write_text(json.dumps(template))
    return folder


@contextmanager
def deployed(app: Path, work: Path, data: Path) -> Iterator[tuple[Stage, dict[str, str]]]:
    """What was synthesised, deployed into an account that has the dataset in a bucket, too; and its outputs."""
    ami = load_config(ROOT / "signspot.toml").machine.ami_parameter
    (work / "boxes").mkdir(parents=True)
    with EmulatedAws(ami) as aws, Datacenter(aws, work / "boxes") as datacenter:
        aws.client("s3").create_bucket(Bucket=BUCKET)
        for path in (one for one in data.rglob("*") if one.is_file()):
            aws.client("s3").upload_file(str(path), BUCKET, PREFIX + path.relative_to(data).as_posix())
        stage = Stage(aws, datacenter, work, Screen(Console(quiet=True)))
        stage.bootstrap()
        yield stage, stage.deploy(str(app))


def watch(stage: Stage, outputs: dict[str, str]) -> None:
    stage.watch(outputs["Bucket"], outputs["Group"], limit_seconds=LIMIT_SECONDS)


@pytest.mark.parametrize("shape", ["synthesised", "with_options"])
def test_with_every_statement_the_run_ends_well(
    shape: str, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with deployed(request.getfixturevalue(shape), tmp_path / "work", data) as (stage, outputs):
        watch(stage, outputs)


@pytest.mark.parametrize("statement", [*NEEDED, "ListData"])
def test_without_one_statement_the_rehearsal_names_the_missing_permission(
    statement: str, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shape = request.getfixturevalue("synthesised" if statement in NEEDED else "with_options")
    app = without(statement, shape, tmp_path / "app")
    with deployed(app, tmp_path / "work", data) as (stage, outputs), pytest.raises(CloudError) as caught:
        watch(stage, outputs)
    assert f"refused by IAM: {(NEEDED | OPTIONAL)[statement]}" in str(caught.value)


def test_without_notify_nobody_is_told_and_the_run_ends_well(with_options: Path, data: Path, tmp_path: Path) -> None:
    app = without("Notify", with_options, tmp_path / "app")
    with deployed(app, tmp_path / "work", data) as (stage, outputs):
        with pytest.raises(CloudError, match=f"refused by IAM: {OPTIONAL['Notify']}"):
            watch(stage, outputs)
        refused = set()
        while stage.aws.denied:
            refused |= {denial.action for denial in stage.aws.denied}
            stage.aws.denied.clear()
            with suppress(CloudError):
                watch(stage, outputs)
        status = stage.status(outputs["Bucket"])
        assert refused == {OPTIONAL["Notify"]}
        assert status is not None and status.phase is Phase.DONE
        assert not stage.datacenter.alive()
