"""A trial is a run below its run: the agent's own life, at a place of its own, and it ends no instance."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootstrap.agent import Agent
from bootstrap.state import Box
from bootstrap.sync import sync
from bootstrap.takeover import restore, take_over
from bootstrap.trial import run, trial_box
from contract.box import EXIT_SAVED
from contract.errors import ConfigError, StaleLease, TrainerError
from contract.layout import RunLayout
from contract.status import Latest, Phase, Status, StopRequest
from tests.bootstrap.test_agent import BUCKET, ScriptedMetadata, python_in_venv, trainer

MakeBox = Callable[..., Box]
LAYOUT = RunLayout("demo")
TRIAL = LAYOUT.trial("t1")


class Worker:
    """A box on which trials are tried, one after the other."""

    def __init__(self, box: Box, s3: Any) -> None:
        self.box, self.s3 = box, s3
        self.output, self.model = box.paths.root / "shown", box.paths.root / "kept"
        python_in_venv(box)

    def attempt(self, *, notice_at: int | None = None, settings: str = "{}", trial: str = "t1") -> int:
        def agent_of(mine: Box) -> Agent:
            return Agent(
                mine,
                ScriptedMetadata(mine, notice_at),
                preparations=(),
                wait_after_notice_seconds=0,
                sleep=lambda seconds: time.sleep(min(seconds, 0.05)),
            )

        environment = {
            "SIGNSPOT_TRIAL": trial,
            "SM_OUTPUT_DIR": str(self.output),
            "SM_MODEL_DIR": str(self.model),
            "SM_HPS": settings,
        }
        return run(self.s3, self.box, environment, agent_of)

    @property
    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.output / "progress.json").read_text())
        return found

    def status(self) -> Status:
        return Status.model_validate_json(self.s3.get_object(Bucket=BUCKET, Key=TRIAL.status)["Body"].read())


@pytest.fixture
def worker(make_box: MakeBox, s3: Any) -> Worker:
    return Worker(make_box("i-w1", trainer(60)), s3)


def keys(s3: Any) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_it_leaves_a_model_and_a_status_below_its_run_and_nothing_elsewhere(worker: Worker, s3: Any) -> None:
    assert worker.attempt() == 0
    assert worker.status().phase is Phase.DONE
    assert worker.shown["step"] == 60
    assert TRIAL.model_manifest in keys(s3)
    assert all(key.startswith(TRIAL.prefix) for key in keys(s3)), "a worker may write nothing else"
    assert list(worker.box.paths.trials.iterdir()) == []
    assert not worker.box.paths.cron.exists()


def test_after_a_notice_another_worker_goes_on_from_the_very_step(worker: Worker, make_box: MakeBox, s3: Any) -> None:
    assert worker.attempt(notice_at=20) == EXIT_SAVED
    saved = worker.status().checkpoint_step
    assert saved >= 20
    other = Worker(make_box("i-w2", trainer(60)), s3)
    assert other.attempt() == 0
    assert other.status().restored_step == saved and other.status().instance == "i-w2"


def test_a_zombies_trial_commits_nothing(worker: Worker, make_box: MakeBox, s3: Any) -> None:
    zombie = trial_box(s3, worker.box, "t1", "")
    zombie.paths.checkpoints.mkdir(parents=True)
    zombie.paths.logs.mkdir(parents=True)
    take_over(zombie, ScriptedMetadata(), None)
    restore(zombie, lambda _: None)
    assert Worker(make_box("i-w2", trainer(20)), s3).attempt() == 0
    before = s3.get_object(Bucket=BUCKET, Key=TRIAL.latest)["Body"].read()
    (zombie.paths.checkpoints / "step-99").write_text("99")
    with pytest.raises(StaleLease):
        sync(zombie)
    assert s3.get_object(Bucket=BUCKET, Key=TRIAL.latest)["Body"].read() == before
    assert Latest.model_validate_json(before).epoch == 2


def test_one_that_was_through_before_is_not_trained_again(worker: Worker, make_box: MakeBox, s3: Any) -> None:
    """As when the head was lost before it had heard of it."""
    worker.attempt()
    other = Worker(make_box("i-w2", ("python", "-c", "raise SystemExit('trained again')")), s3)
    assert other.attempt() == 0
    assert other.shown["step"] == 60
    assert other.status().instance == "i-w1"


def test_its_settings_are_its_own(worker: Worker, s3: Any) -> None:
    mine = trial_box(s3, worker.box, "t1", json.dumps({"units": 7, "table": "dataset.csv"}))
    assert mine.config.trainer.units == 7
    assert mine.config.trainer.command == worker.box.config.trainer.command
    assert mine.config.sync == worker.box.config.sync
    with pytest.raises(ValueError, match="units"):
        trial_box(s3, worker.box, "t1", json.dumps({"units": -1}))


@pytest.mark.parametrize("name", ["", "../other", "a/b", "x" * 65])
def test_its_name_leads_nowhere_else(worker: Worker, s3: Any, name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a trial"):
        trial_box(s3, worker.box, name, "")


def test_who_stops_the_run_stops_its_trials(worker: Worker, s3: Any) -> None:
    request = StopRequest(asked_at=datetime.now(UTC))
    s3.put_object(Bucket=BUCKET, Key=LAYOUT.stop, Body=request.model_dump_json())
    assert worker.attempt() == EXIT_SAVED, "it goes on when the run does"


def test_a_trial_that_fails_says_so_and_why(make_box: MakeBox, s3: Any) -> None:
    script = (
        "import os, pathlib, sys; pathlib.Path(os.environ['SM_OUTPUT_DIR'], 'failure').write_text('no'); sys.exit(3)"
    )
    worker = Worker(make_box("i-w1", ("python", "-c", script), max_attempts="1"), s3)
    assert worker.attempt() == TrainerError.exit_code
    assert worker.status().phase is Phase.FAILED
    assert worker.attempt() == TrainerError.exit_code, "nor is it tried again"


def test_trials_side_by_side_have_folders_of_their_own(worker: Worker, s3: Any) -> None:
    folders = {trial_box(s3, worker.box, name, "").paths.checkpoints for name in ("t1", "t2")}
    assert len(folders) == 2 and all(folder.parent.name.endswith(f".{os.getpid()}") for folder in folders)
    assert all(Path(folder).is_relative_to(worker.box.paths.trials) for folder in folders)
