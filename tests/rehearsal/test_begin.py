"""A run as a user goes through it, command by command, with the real CDK CLI, box and agent; what each command prints
by `--json` is what its committed schema allows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console

from cli.main import app
from cli.rehearsal_screen import Screen
from cli.stage import RUN, Stage, open_stage
from contract.status import Phase
from rehearsal import fake_trainer
from rehearsal.quotas import set_limit
from tests.cli import schemas
from tests.rehearsal.typed import ROOT, answer, commands_in, signspot

STEPS = 160
"""40 s of training: time enough to stop it in the middle."""
ELSEWHERE = {
    "rehearse": "tests/rehearsal/test_rehearse.py",
    "ssh": "tests/rehearsal/test_visit.py",
    "tunnel": "tests/rehearsal/test_visit.py",
}
"""Commands that are neither run here nor in test_laptop.py, and the test that types each: rehearsals of their own."""
SETTINGS = {"run": RUN, "heartbeat_seconds": 1, "checkpoint_seconds": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two words' keypoints, without a table."""
    for number, word in enumerate(("bye", "hello")):
        (tmp_path / "keypoints" / word).mkdir(parents=True)
        for clip in range(6):
            values = np.random.default_rng(10 * number + clip).random((4, 2, 21, 3), np.float32)
            np.save(tmp_path / "keypoints" / word / f"{clip}.npy", values)
    return tmp_path


def test_a_run_is_begun_stopped_continued_and_ended_as_a_user_does_it(folder: Path) -> None:
    with open_stage(Screen(Console(quiet=True)), "auto") as stage:
        context = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = ["python", "-c", Path(fake_trainer.__file__).read_text(), "good", str(STEPS)]
        found = answer(stage, folder, "init", *context, "-c", f"trainer.command={json.dumps(command)}")
        assert (found["dataset"], found["run"]) == ("keypoints", RUN)
        assert found["next"][0] == "signspot dataset keypoints" and found["next"][-1] == "signspot check"
        assert answer(stage, folder, "dataset", "keypoints")["added"] == 12

        unready = answer(stage, folder, "check", code=1)
        bad = [one["check"] for one in unready["findings"] if one["verdict"] == "bad"]
        assert bad == ["CDK bootstrap"], unready
        refused = signspot(stage, folder, "deploy", "--yes")
        assert refused.returncode == 1 and "nothing was created" in refused.stderr
        stage.bootstrap()
        set_limit(stage.aws.account, stage.aws.region, "L-3819A6DF", 4)

        done = signspot(stage, folder, "deploy", "--yes", "--json", "--wait-minutes", "5")
        assert done.returncode == 0, done.stdout + done.stderr
        outcome = schemas.check("deploy", done.stdout)
        assert outcome["new"] and outcome["phase"] in (Phase.TRAINING, Phase.DONE) and outcome["step"] > 0
        assert outcome["resources"]["AWS::AutoScaling::AutoScalingGroup"] == 1
        for words in ("creates signspot-rehearsal", "the stack is up", "booting: attempt 1", "it trains: step "):
            assert words in done.stderr, done.stderr

        stopped_and_continued(stage, folder)

        watched = signspot(stage, folder, "status", RUN, "--watch", "--json")
        assert watched.returncode == 0, watched.stderr
        told = [schemas.check("status", line) for line in watched.stdout.splitlines()]
        assert told[-1]["phase"] == Phase.DONE and told[-1]["progress"]["step"] == STEPS
        assert told[-1]["usage"]["memory_percent"] > 0 and told[-1]["details"]["usd"] is not None
        came_home(stage, folder)
        again = signspot(stage, folder, "deploy", "--yes", "--wait-minutes", "5")
        assert again.returncode == 0 and "signspot restart rehearsal" in again.stdout, again.stdout + again.stderr
        gone = answer(stage, folder, "destroy", RUN, "--yes", RUN)
        assert gone["left"] == gone["kept"] == [] and gone["fetched"][0]["model"]["step"] == STEPS


def stopped_and_continued(stage: Stage, folder: Path) -> None:
    (stopped,) = answer(stage, folder, "stop", RUN)["runs"]
    assert stopped["saved"] and 0 < stopped["step"] < STEPS
    resting = answer(stage, folder, "status", RUN, code=6)
    assert resting["phase"] == Phase.INTERRUPTED and resting["ending"]["stopped"]
    assert f"was stopped on purpose: it was saved at step {stopped['step']}" in resting["ending"]["message"]
    assert resting["ending"]["message"].endswith(f"signspot restart {RUN}")
    (row,) = answer(stage, folder, "ls")["runs"]
    assert (row["run"], row["step"], row["desired"], row["note"]) == (RUN, stopped["step"], 0, "")
    (attempt,) = answer(stage, folder, "cost", RUN)["attempts"]
    assert [attempt["instance"]] == stopped["instances"]

    longer = answer(stage, folder, "extend", RUN, "--hours", "1", "--yes")
    assert longer["stop_at"] > longer["stop_at_before"] and not longer["runs"]
    going = answer(stage, folder, "restart", RUN, "--yes")
    assert (going["step"], going["stop_at"]) == (stopped["step"], longer["stop_at"])


def came_home(stage: Stage, folder: Path) -> None:
    lines = [schemas.check("logs", line) for line in signspot(stage, folder, "logs", RUN, "--json").stdout.splitlines()]
    steps = [int(line["line"].split()[1]) for line in lines if line["line"].startswith("step ")]
    assert steps == list(range(1, STEPS + 1)), "of both instances, none twice, none left out"
    home = answer(stage, folder, "fetch", RUN)
    assert (home["phase"], home["model"]["step"], home["notes"]) == ("done", STEPS, [])
    assert (folder / home["model"]["folder"] / "model.txt").read_text() == f"trained to step {STEPS}"
    page = answer(stage, folder, "report", home["folder"])["report"]
    assert all(line["instance"] in (folder / page).read_text() for line in lines)
    key = answer(stage, folder, "key")
    assert Path(key["path"]).is_relative_to(folder) and Path(key["path"]).read_text().strip() == key["public_key"]


def test_every_command_is_run_in_a_rehearsal() -> None:
    here = Path(__file__)
    run = commands_in(here) | commands_in(here.with_name("test_laptop.py"))
    group: Any = typer.main.get_command(app)
    assert set(group.commands) == run | set(ELSEWHERE)
    assert not run & set(ELSEWHERE)
    for command, test in ELSEWHERE.items():
        assert f'"{command}"' in (ROOT / test).read_text(), f"{test} does not type {command}"
