from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    "sample",
    "predict",
    "fetch",
    "stop",
    "destroy",
    "status",
    "logs",
    "address",
    "key",
    "extend",
    "rehearse",
    "chaos",
)
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


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


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


@pytest.mark.parametrize("command", ["status", "logs"])
def test_a_laptop_without_a_region_is_one_message(command: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    shown = subprocess.run(
        [sys.executable, "-m", "cli", command, "demo"],
        capture_output=True,
        text=True,
        check=False,
        env=kept | {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
    )
    assert shown.returncode == 5
    assert "export AWS_REGION=" in shown.stderr
    assert "Traceback" not in shown.stderr
