"""`app.py` as the CDK CLI runs it: a wrong setting is one clear message, before anything is created."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.deploy_policy import deploy_permissions

HOME = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "dataset.csv").write_text("path,label,split\na.npy,hello,train\n")
    return folder


def run_app(cwd: Path, place: Mapping[str, str] | None = None, /, **context: str) -> subprocess.CompletedProcess[str]:
    out = cwd / "cdk.out"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))},
        "CDK_CONTEXT_JSON": json.dumps({"aws:cdk:enable-path-metadata": True, **context}),
        "CDK_OUTDIR": str(out),
        **(place or {}),
    }
    return subprocess.run(
        [sys.executable, HOME / "app.py"], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_a_good_setting_gives_one_stack_named_after_the_run(tmp_path: Path, dataset: Path) -> None:
    done = run_app(tmp_path, **{"run": "demo", "max_usd": "1.50", "data.path": str(dataset)})
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "cdk.out").glob("*.template.json")] == ["signspot-demo.template.json"]


@pytest.mark.parametrize(
    ("context", "code", "message"),
    [
        ({"max_usd": "0.05"}, 2, "buy 5.7 minutes, fewer than 10"),
        ({"ssh_from": "0.0.0.0/0"}, 2, "would let 4,294,967,296 addresses knock"),
        ({"ssh_from": "auto"}, 2, "cdk deploy -c ssh_from=$(signspot address) -c public_key=$(signspot key)"),
        ({"max_ussd": "1"}, 2, "there is no setting 'max_ussd' (did you mean 'max_usd'?)"),
        ({"data.path": "/no/such/folder"}, 2, "data.path: there is no folder /no/such/folder"),
        ({"data.table": "empty.csv"}, 3, "empty.csv lists no sequence: the dataset is empty"),
        ({"extend_hours": "two"}, 2, "extend_hours=two is no number of hours"),
        ({"config": "/no/such/file.toml"}, 2, "/no/such/file.toml does not exist"),
    ],
)
def test_a_bad_setting_is_one_message_and_nothing_is_written(
    tmp_path: Path, dataset: Path, context: dict[str, str], code: int, message: str
) -> None:
    (dataset / "empty.csv").write_text("path,label,split\n")
    done = run_app(tmp_path, **{"data.path": str(dataset), **context})
    assert done.returncode == code
    assert done.stderr.count(message) == 1
    assert "Mend: " in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "cdk.out").glob("*.json"))


def test_whatever_the_cdk_cli_asks_aws_before_it_deploys_the_policy_allows(tmp_path: Path, dataset: Path) -> None:
    """With an account and a region, as the CLI sets them, the zones are asked for at the first deploy, as the user."""
    place = {"CDK_DEFAULT_ACCOUNT": "111122223333", "CDK_DEFAULT_REGION": "us-east-1"}
    assert run_app(tmp_path, place, **{"data.path": str(dataset)}).returncode == 0
    missing = json.loads((tmp_path / "cdk.out/manifest.json").read_text())["missing"]
    needs = {"availability-zones": "ec2:DescribeAvailabilityZones"}
    allowed = {action for one in deploy_permissions("111122223333", "us-east-1") for action in one.actions}
    assert {needs[question["provider"]] for question in missing} <= allowed
