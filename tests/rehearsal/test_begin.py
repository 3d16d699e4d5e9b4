"""A run as a user begins it: `init`, `check`, `deploy`, `status --watch`, with the real CDK CLI, box and agent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cli.rehearsal_screen import Screen
from cli.stage import RUN, Stage, open_stage
from contract.status import Phase
from rehearsal import fake_trainer
from rehearsal.quotas import set_limit
from tests.cli import schemas

STEPS = 40
SETTINGS = {"run": RUN, "heartbeat_seconds": 1, "checkpoint_seconds": 2}


def signspot(stage: Stage, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As typed in `folder`."""
    command = [sys.executable, "-m", "cli", *words]
    environment = stage.environment | {"HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two words' keypoints, without a table."""
    for number, word in enumerate(("bye", "hello")):
        (tmp_path / "keypoints" / word).mkdir(parents=True)
        for clip in range(6):
            values = np.random.default_rng(10 * number + clip).random((4, 2, 21, 3), np.float32)
            np.save(tmp_path / "keypoints" / word / f"{clip}.npy", values)
    return tmp_path


def test_a_run_is_begun_as_a_user_begins_it(folder: Path) -> None:
    with open_stage(Screen(Console(quiet=True)), "auto") as stage:
        context = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = ["python", "-c", Path(fake_trainer.__file__).read_text(), "good", str(STEPS)]
        made = signspot(stage, folder, "init", "--json", *context, "-c", f"trainer.command={json.dumps(command)}")
        found = schemas.check("init", made.stdout)
        assert (found["dataset"], found["run"]) == ("keypoints", RUN)
        assert found["next"][0] == "signspot dataset keypoints" and found["next"][-1] == "signspot check"
        assert signspot(stage, folder, "dataset", "keypoints").returncode == 0

        unready = schemas.check("check", signspot(stage, folder, "check", "--json").stdout)
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

        watched = signspot(stage, folder, "status", RUN, "--watch", "--json")
        assert watched.returncode == 0, watched.stderr
        told = [schemas.check("status", line) for line in watched.stdout.splitlines()]
        assert told[-1]["phase"] == Phase.DONE and told[-1]["progress"]["step"] == STEPS
        assert told[-1]["usage"]["memory_percent"] > 0 and told[-1]["details"]["usd"] is not None
        again = signspot(stage, folder, "deploy", "--yes", "--wait-minutes", "5")
        assert again.returncode == 0 and "signspot restart rehearsal" in again.stdout, again.stdout + again.stderr
        gone = signspot(stage, folder, "destroy", RUN, "--yes", RUN)
        assert gone.returncode == 0 and "left: 0" in gone.stdout
