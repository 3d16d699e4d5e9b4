"""Take any one statement from the box's role: the rehearsal fails, and says which permission is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.rehearsal_screen import Screen
from cli.stage import OVERRIDES, ROOT, Stage
from contract.config import load_config
from contract.errors import CloudError
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


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack of a run whose trainer takes seconds, as `cdk synth` leaves it."""
    folder = tmp_path_factory.mktemp("synth")
    make_sample(folder / "data", words=2, signers=4, per_word_and_signer=2)
    settings = {**OVERRIDES, "data.path": str(folder / "data"), "keep_checkpoints": "2"}
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


def test_the_list_above_is_the_whole_role(synthesised: Path) -> None:
    template = json.loads(template_in(synthesised).read_text())
    assert {statement["Sid"] for _, statement in statements(template)} == set(NEEDED)


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


def rehearse(app: Path, work: Path) -> None:
    """Deploy what was synthesised and follow the run to its end."""
    ami = load_config(ROOT / "signspot.toml").machine.ami_parameter
    (work / "boxes").mkdir(parents=True)
    with EmulatedAws(ami) as aws, Datacenter(aws, work / "boxes") as datacenter:
        stage = Stage(aws, datacenter, work, Screen(Console(quiet=True)))
        stage.bootstrap()
        outputs = stage.deploy("--app", str(app))
        stage.watch(outputs["Bucket"], outputs["Group"], limit_seconds=LIMIT_SECONDS)


def test_with_every_statement_the_run_ends_well(synthesised: Path, tmp_path: Path) -> None:
    rehearse(synthesised, tmp_path / "work")


@pytest.mark.parametrize("statement", NEEDED)
def test_without_one_statement_the_rehearsal_names_the_missing_permission(
    statement: str, synthesised: Path, tmp_path: Path
) -> None:
    app = without(statement, synthesised, tmp_path / "app")
    with pytest.raises(CloudError) as caught:
        rehearse(app, tmp_path / "work")
    assert f"refused by IAM: {NEEDED[statement]}" in str(caught.value)
