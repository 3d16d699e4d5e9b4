"""Whatever fails in user data, and wherever: the instance leaves its group and is powered off."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.status import Phase, Status

SCRIPT = Path(__file__).parents[2] / "bootstrap/user_data.sh"
VARIABLES = ("RUN", "BUCKET", "BUNDLE", "DATA", "REGION", "TOPIC")
DEADMAN_MINUTES = 600
STUB = '#!/bin/sh\necho "{name} $*" >>"$CALLS"\n{more}\n'
LEAVES = "aws autoscaling terminate-instance-in-auto-scaling-group --instance-id {} --should-decrement-desired-capacity"
LAST_WORD = "python -m bootstrap.epitaph"
OFF = "shutdown -h now"


class Machine:
    """A root folder and the programs user data calls, which only note that they were called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        (root / "bin").mkdir(parents=True)
        for name in ("aws", "shutdown", "python3", "sleep"):
            self.program(name)
        self.identity = root / "var/lib/cloud/data/instance-id"
        self.identity.parent.mkdir(parents=True)
        self.identity.write_text("i-1\n")
        (root / "opt/signspot/bootstrap").mkdir(parents=True)
        (root / "opt/signspot/bootstrap/install.sh").write_text("true\n")
        self.stop_at = (datetime.now(UTC) + timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.module = ""
        self.agent("exit 0")

    def program(self, name: str, more: str = "") -> None:
        path = self.root / "bin" / name
        path.write_text(STUB.format(name=name, more=more))
        path.chmod(0o755)

    def aws(self, **answers: str) -> None:
        """What `aws` does, by a word of its command line."""
        words = {"status": "*status.json*", "bundle": "*bundle.zip*", "group": "autoscaling*", "log": "*boot.log*"}
        cases = "\n".join(f"{words[word]}) {answer} ;;" for word, answer in answers.items())
        self.program("aws", f'case "$*" in\n{cases}\nesac')

    def agent(self, does: str, epitaph: str = "") -> None:
        path = self.root / "opt/signspot/venv/bin/python"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            STUB.format(
                name="python", more=f'case "$*" in *agent | *head | *worker) {does} ;; *epitaph*) {epitaph} ;; esac'
            )
        )
        path.chmod(0o755)

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **dict.fromkeys(VARIABLES, "x"),
            "DEADMAN_MINUTES": str(DEADMAN_MINUTES),
            "STOP_AT": self.stop_at,
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "SIGNSPOT_ROOT": str(self.root),
            "CALLS": str(self.calls),
            **({"MODULE": self.module} if self.module else {}),
        }
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(["bash", str(SCRIPT)], env=environment, start_new_session=True, **output)  # type: ignore[call-overload, no-any-return]

    def boot(self) -> list[str]:
        self.start().wait(60)
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def trained(calls: list[str]) -> bool:
    return "python -m bootstrap.agent" in calls


def test_a_run_that_is_over_leaves_its_group_and_powers_off(machine: Machine) -> None:
    calls = machine.boot()
    assert calls[0] == f"shutdown -h +{DEADMAN_MINUTES}"
    assert trained(calls)
    assert calls[-2:] == [LEAVES.format("i-1"), OFF]
    assert not [call for call in calls if LAST_WORD in call]


def test_a_box_that_is_to_be_replaced_only_powers_off(machine: Machine) -> None:
    machine.agent("exit 75")
    calls = machine.boot()
    assert calls[-1] == OFF
    assert not [call for call in calls if "autoscaling" in call or LAST_WORD in call]


@pytest.mark.parametrize("code", [1, 2, 4, 6, 137])
def test_any_other_end_of_the_agent_is_the_end_of_the_run_and_it_is_said(machine: Machine, code: int) -> None:
    machine.agent(f"exit {code}")
    calls = machine.boot()
    last_word, log, leaves, off = calls[-4:]
    assert last_word == f"{LAST_WORD} {code}"
    assert log.endswith("/logs/i-1/boot/000000000000.log")
    assert (leaves, off) == (LEAVES.format("i-1"), OFF)


def test_a_worker_that_fails_leaves_its_group_for_good_and_says_nothing_of_the_run(machine: Machine) -> None:
    """The run is the head's: the others go on."""
    machine.module = "bootstrap.worker"
    machine.agent("exit 1")
    calls = machine.boot()
    assert "python -m bootstrap.worker" in calls and not trained(calls)
    assert calls[-2:] == [LEAVES.format("i-1"), OFF]
    assert not [call for call in calls if LAST_WORD in call]


@pytest.mark.parametrize(("code", "leaves"), [(0, True), (75, False)])
def test_a_worker_leaves_when_the_run_is_over_and_is_replaced_when_it_was_taken_away(
    machine: Machine, code: int, leaves: bool
) -> None:
    machine.module = "bootstrap.worker"
    machine.agent(f"exit {code}")
    calls = machine.boot()
    assert calls[-1] == OFF and (LEAVES.format("i-1") in calls) is leaves


def test_a_head_ends_as_a_single_box_does(machine: Machine) -> None:
    machine.module = "bootstrap.head"
    machine.agent("exit 6")
    last_word, _, leaves, off = machine.boot()[-4:]
    assert last_word == f"{LAST_WORD} 6" and (leaves, off) == (LEAVES.format("i-1"), OFF)


def test_an_agent_that_is_killed_with_9_is_the_end_of_the_run(machine: Machine) -> None:
    machine.agent("kill -9 $$")
    assert machine.boot()[-4] == f"{LAST_WORD} 137"


def test_a_python_that_is_broken_is_the_end_of_the_run(machine: Machine) -> None:
    machine.agent("exit 1", epitaph="exit 1")
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), OFF]


def test_no_identity(machine: Machine) -> None:
    machine.identity.unlink()
    calls = machine.boot()
    assert calls[-1] == OFF
    assert not trained(calls)


def test_no_dead_man_timer(machine: Machine) -> None:
    machine.program("shutdown", 'case "$*" in *+*) exit 1;; esac')
    calls = machine.boot()
    assert calls[-2:] == [LEAVES.format("i-1"), OFF]
    assert not trained(calls)


def test_no_folder_to_write_to(machine: Machine) -> None:
    (machine.root / "var/log").write_text("not a folder")
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), OFF]


def test_no_bundle(machine: Machine) -> None:
    machine.aws(bundle="exit 1")
    calls = machine.boot()
    assert calls[-2:] == [LEAVES.format("i-1"), OFF]
    assert not [call for call in calls if call.startswith("python3")]


def test_a_bundle_that_is_no_zip(machine: Machine) -> None:
    machine.program("python3", "exit 1")
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), OFF]


def test_no_packages(machine: Machine) -> None:
    (machine.root / "opt/signspot/bootstrap/install.sh").write_text("exit 1\n")
    calls = machine.boot()
    assert calls[-2:] == [LEAVES.format("i-1"), OFF]
    assert [call for call in calls if "boot.log" in call]


# --- the dead-man timer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes_left", "armed"), [(24 * 60, DEADMAN_MINUTES), (90.5, 90), (1.5, 1), (0.2, 1), (-60, 1)]
)
def test_the_timer_ends_the_box_at_the_deadline_however_late_it_boots(
    machine: Machine, minutes_left: float, armed: int
) -> None:
    machine.stop_at = (datetime.now(UTC) + timedelta(minutes=minutes_left)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert machine.boot()[0] == f"shutdown -h +{armed}"


def test_a_deadline_that_cannot_be_read_leaves_the_longest_time_the_run_may_take(machine: Machine) -> None:
    machine.stop_at = "soon"
    assert machine.boot()[0] == f"shutdown -h +{DEADMAN_MINUTES}"


# --- the way out -------------------------------------------------------------------------------------


def test_nobody_who_hears_is_there_any_more(machine: Machine) -> None:
    """What the boot says goes through a pipe: its end must not take the way out with it."""
    machine.agent("kill -9 $(pgrep -g $(ps -o pgid= $$) tee); exit 0")
    assert machine.boot()[-2:] == [LEAVES.format("i-1"), OFF]


def test_the_way_out_has_a_timer_of_its_own_before_anything_in_it_can_hang(machine: Machine) -> None:
    calls = machine.boot()
    way_out = calls.index("shutdown -h +5")
    assert trained(calls[:way_out])
    assert not [call for call in calls[:way_out] if "boot.log" in call or "autoscaling" in call]


def test_a_group_that_throttles_is_asked_again(machine: Machine) -> None:
    machine.aws(group='[ -e "$CALLS.asked" ] || { touch "$CALLS.asked"; exit 254; }')
    assert machine.boot()[-4:] == [LEAVES.format("i-1"), "sleep 1", LEAVES.format("i-1"), OFF]


def test_a_group_that_refuses_is_asked_for_a_minute_and_then_the_box_powers_off(machine: Machine) -> None:
    machine.aws(group="exit 254")
    calls = machine.boot()
    assert calls.count(LEAVES.format("i-1")) == 7
    assert sum(int(call.split()[1]) for call in calls if call.startswith("sleep")) == 63
    assert calls[-1] == OFF


def test_aws_refuses_everything(machine: Machine) -> None:
    machine.program("aws", "exit 255")
    calls = machine.boot()
    assert LEAVES.format("i-1") in calls
    assert not trained(calls)
    assert calls[-1] == OFF


@pytest.mark.parametrize("phase", [Phase.DONE, Phase.FAILED, Phase.EXPIRED])
def test_a_run_that_is_over_is_not_paid_for_twice(machine: Machine, phase: Phase) -> None:
    """The box before could not lower the group: this one installs nothing and only tries again."""
    status = Status(run="x", phase=phase, heartbeat=datetime.now(UTC), reason='said "phase":"training"')
    (machine.root / "status.json").write_text(status.model_dump_json())
    machine.aws(status=f"cat {machine.root}/status.json")
    calls = machine.boot()
    assert not trained(calls)
    assert not [call for call in calls if "zipfile" in call]
    assert calls[-2:] == [LEAVES.format("i-1"), OFF]


@pytest.mark.parametrize("phase", [Phase.BOOTING, Phase.TRAINING, Phase.INTERRUPTED])
def test_a_run_that_is_not_over_goes_on(machine: Machine, phase: Phase) -> None:
    status = Status(run="x", phase=phase, heartbeat=datetime.now(UTC), reason='said "phase":"done"')
    (machine.root / "status.json").write_text(status.model_dump_json())
    machine.aws(status=f"cat {machine.root}/status.json")
    assert trained(machine.boot())


@pytest.mark.parametrize(("agent_exit", "over"), [(75, False), (0, True), (143, False)])
def test_a_shutdown_waits_for_the_agent_and_ends_no_run(machine: Machine, agent_exit: int, over: bool) -> None:
    """Bash ran the EXIT trap at once on SIGTERM, with a code that took the instance out of its group for good."""
    wait = 'touch "$CALLS.ready"; while :; do /bin/sleep 0.05; done'
    machine.agent(f"trap '/bin/sleep 0.2; echo saved >>\"$CALLS\"; exit {agent_exit}' TERM; {wait}")
    process = machine.start()
    while not Path(f"{machine.calls}.ready").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)
    calls = machine.calls.read_text().splitlines()
    assert (LEAVES.format("i-1") in calls) is over
    assert calls.index("saved") < calls.index("shutdown -h +5")
    assert calls[-1] == OFF
