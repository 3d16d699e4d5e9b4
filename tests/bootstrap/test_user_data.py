"""Whatever fails in user data, and wherever: the instance leaves its group and is powered off."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bootstrap/user_data.sh"
VARIABLES = ("RUN", "BUCKET", "BUNDLE", "DATA", "REGION", "DEADMAN_MINUTES", "STOP_AT", "TOPIC")
STUB = '#!/bin/sh\necho "{name} $*" >>"$CALLS"\n{more}\n'
LEAVES = "aws autoscaling terminate-instance-in-auto-scaling-group --instance-id {} --should-decrement-desired-capacity"


class Machine:
    """A root folder and the three programs user data calls, which only note that they were called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        (root / "bin").mkdir(parents=True)
        for name in ("aws", "shutdown", "python3"):
            self.program(name)
        self.identity = root / "var/lib/cloud/data/instance-id"
        self.identity.parent.mkdir(parents=True)
        self.identity.write_text("i-1\n")
        (root / "opt/signspot/bootstrap").mkdir(parents=True)
        (root / "opt/signspot/bootstrap/install.sh").write_text("true\n")
        self.agent(0)

    def program(self, name: str, more: str = "") -> None:
        path = self.root / "bin" / name
        path.write_text(STUB.format(name=name, more=more))
        path.chmod(0o755)

    def agent(self, code: int) -> None:
        path = self.root / "opt/signspot/venv/bin/python"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB.format(name="agent", more=f"exit {code}"))
        path.chmod(0o755)

    def boot(self) -> list[str]:
        environment = {
            **dict.fromkeys(VARIABLES, "x"),
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "SIGNSPOT_ROOT": str(self.root),
            "CALLS": str(self.calls),
        }
        subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, timeout=60, check=False)
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def test_a_run_that_is_over_leaves_its_group_and_powers_off(machine: Machine) -> None:
    calls = machine.boot()
    assert calls[0] == "shutdown -h +x"
    assert "agent -m bootstrap.agent" in calls
    assert calls[-2:] == [LEAVES.format("i-1"), "shutdown -h now"]


def test_a_box_that_is_to_be_replaced_only_powers_off(machine: Machine) -> None:
    machine.agent(75)
    calls = machine.boot()
    assert calls[-1] == "shutdown -h now"
    assert not [call for call in calls if "autoscaling" in call]


@pytest.mark.parametrize("code", [1, 2, 4, 6, 137])
def test_any_other_end_of_the_agent_is_the_end_of_the_run(machine: Machine, code: int) -> None:
    machine.agent(code)
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), "shutdown -h now"]


def test_no_identity(machine: Machine) -> None:
    machine.identity.unlink()
    calls = machine.boot()
    assert calls[-1] == "shutdown -h now"
    assert "agent -m bootstrap.agent" not in calls


def test_no_dead_man_timer(machine: Machine) -> None:
    machine.program("shutdown", 'case "$*" in *+*) exit 1;; esac')
    calls = machine.boot()
    assert calls[-1] == "shutdown -h now"
    assert "agent -m bootstrap.agent" not in calls


def test_no_folder_to_write_to(machine: Machine) -> None:
    (machine.root / "var/log").write_text("not a folder")
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), "shutdown -h now"]


def test_no_bundle(machine: Machine) -> None:
    machine.program("aws", 'case "$*" in *bundle.zip*) exit 1;; esac')
    calls = machine.boot()
    assert calls[-2:] == [LEAVES.format("i-1"), "shutdown -h now"]
    assert not [call for call in calls if call.startswith("python3")]


def test_a_bundle_that_is_no_zip(machine: Machine) -> None:
    machine.program("python3", "exit 1")
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), "shutdown -h now"]


def test_no_packages(machine: Machine) -> None:
    (machine.root / "opt/signspot/bootstrap/install.sh").write_text("exit 1\n")
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), "shutdown -h now"]


def test_aws_refuses_everything(machine: Machine) -> None:
    machine.program("aws", "exit 255")
    calls = machine.boot()
    assert LEAVES.format("i-1") in calls
    assert calls[-1] == "shutdown -h now"
