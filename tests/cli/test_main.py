from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app
from cli.schemas import MODELS
from tests.cli import schemas

GROUP: Any = typer.main.get_command(app)
COMMANDS = tuple(GROUP.commands)
HEAVY = ("tensorflow", "keras", "aws_cdk", "boto3", "moto", "rehearsal", "paramiko", "cryptography")


def signspot(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cli", *arguments], capture_output=True, text=True, check=False)


def test_help_lists_every_command() -> None:
    shown = signspot("--help")
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = signspot(command, "--help")
    assert shown.returncode == 0
    assert f"Example: signspot {command}" in " ".join(shown.stdout.split())


def test_every_command_prints_json_on_request_and_its_schema_is_committed() -> None:
    for command in COMMANDS:
        options = [option for parameter in GROUP.commands[command].params for option in parameter.opts]
        assert "--json" in options, command
    assert set(MODELS) == set(COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_fetch_that_nobody_looks_at_loads_no_rich() -> None:
    code = "import sys, cli.fetch, cli.live; print('rich' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_a_command_that_starts_and_ends_is_not_searched_for_garbage() -> None:
    code = """
import atexit, gc, sys
import cli.main
sys.argv = ["signspot", "predict", "nowhere", "nothing.npy"]
atexit.register(lambda: print(gc.get_stats()[2]["collections"], gc.get_freeze_count() > 0))
cli.main.main()
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 3
    assert shown.stdout.strip() == "0 True"


def test_an_error_is_a_message_and_an_exit_code() -> None:
    shown = signspot("rehearse", "-c", "max_usd=0.01")
    assert shown.returncode == 2
    assert "fewer than 10" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_debug_shows_the_trace() -> None:
    shown = signspot("--debug", "rehearse", "-c", "max_usd=0.01")
    assert "Traceback" in shown.stderr


def test_predict_on_a_missing_file_is_one_message() -> None:
    shown = signspot("predict", "nowhere", "nothing.npy")
    assert shown.returncode == 3
    assert "Traceback" not in shown.stderr


OF_A_RUN = ("fetch", "stop", "restart", "cost", "destroy", "status", "logs", "ssh", "tunnel", "extend")


@pytest.mark.parametrize("command", OF_A_RUN)
def test_a_name_that_no_run_can_have_is_refused_before_aws_is_asked(command: str) -> None:
    """To a filter of EC2 a `*` is every run of the account."""
    shown = signspot(command, "demo*")
    assert shown.returncode == 2
    assert "'demo*' is no name of a run" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    ("command", "environment", "mend"),
    [(command, {}, "export AWS_REGION=") for command in OF_A_RUN]
    + [(command, {"AWS_REGION": "us-east-1", "AWS_PROFILE": "nope"}, "AWS_PROFILE") for command in ("fetch", "extend")]
    + [(command, {"AWS_REGION": "us-east-1"}, "log in to AWS") for command in ("status", "logs", "destroy")],
)
def test_a_laptop_that_cannot_ask_aws_is_one_message(
    command: str, environment: dict[str, str], mend: str, tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    shown = subprocess.run(
        [sys.executable, "-m", "cli", command, "demo"],
        capture_output=True,
        text=True,
        check=False,
        env=kept | environment | {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
    )
    assert shown.returncode == 5
    assert mend in shown.stderr
    assert "Traceback" not in shown.stderr


def test_dataset_hands_its_options_to_the_trainer(tmp_path: Path) -> None:
    assert signspot("sample", str(tmp_path / "sample")).returncode == 0
    shown = signspot("dataset", str(tmp_path / "sample"), "--resplit", "--group-by", "signer", "--seed", "3", "--json")
    assert shown.returncode == 0, shown.stderr
    report = schemas.check("dataset", shown.stdout)
    assert report["clips"] == 1024
    assert report["splits"] == "by signer"
    assert signspot("dataset", str(tmp_path / "missing")).returncode == 3
    refused = signspot("dataset", str(tmp_path / "sample"), "--signer-pattern", "-(")
    assert refused.returncode == 2
    assert "no regular expression" in refused.stderr
