"""A trial as a command: what Tune is told of it, and what becomes of it when it ends; Tune itself is played."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from contract.errors import TrainerError
from trainer import sweep_command
from trainer.sweep_command import Told, run_command
from trainer.sweep_trial import SCORE, WORST, Base

EPOCHS = """
import json, os, pathlib, sys, time
out, model = (pathlib.Path(os.environ[n]) for n in ("SM_OUTPUT_DIR", "SM_MODEL_DIR"))
settings = json.loads(os.environ["SM_HPS"])
for epoch, loss in enumerate([3.0, 1.0, 2.0], 1):
    said = {"step": 10 * epoch, "train_epoch": epoch, "metrics": {"val_loss": loss, "val_accuracy": 1 / loss}}
    (out / ".p").write_text(json.dumps(said)); (out / ".p").rename(out / "progress.json")
    time.sleep(0.2)
model.mkdir()
told = {"val_loss": 1.0, "val_accuracy": 0.9, "test_accuracy": 0.5, "parameters": settings["units"]}
told["test_words"] = ["x" * 9000]
(model / "metrics.json").write_text(json.dumps({**told, "trial": os.environ["SIGNSPOT_TRIAL"]}))
"""
BASE = Base("/data", {"units": 8, "epochs": 3}, "val_accuracy")


class Tune(types.ModuleType):
    def __init__(self) -> None:
        super().__init__("ray")
        self.tune = self
        self.told: list[dict[str, Any]] = []
        self.stop_at = 10**6

    def get_context(self) -> Any:
        return types.SimpleNamespace(get_trial_id=lambda: "t_00001")

    def report(self, values: dict[str, Any]) -> None:
        self.told.append(values)
        if len(self.told) >= self.stop_at:
            raise SystemExit


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Tune:
    module = Tune()
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setattr(sweep_command, "POLL_SECONDS", 0.02)
    return module


def test_tune_is_told_of_every_epoch_and_at_the_end_of_the_model(tune: Tune) -> None:
    run_command({"units": 16}, BASE, ["python", "-c", EPOCHS])
    assert [one["train_epoch"] for one in tune.told] == [1, 2, 3, 3]
    assert tune.told[2][SCORE] == 1.0, "of the weights that are kept, not of the last epoch"
    last = tune.told[-1]
    assert (last[SCORE], last["finished"], last["test_accuracy"], last["parameters"]) == (0.9, True, 0.5, 16)


def test_one_that_was_saved_before_it_was_through_is_begun_again(tune: Tune) -> None:
    with pytest.raises(TrainerError, match="saved before it was through"):
        run_command({}, BASE, ["python", "-c", "raise SystemExit(75)"])
    assert not tune.told


def test_settings_that_cannot_be_trained_with_are_told_with_their_reason(tune: Tune) -> None:
    script = (
        "import os, pathlib; pathlib.Path(os.environ['SM_OUTPUT_DIR'], 'failure').write_text('no'); raise SystemExit(6)"
    )
    run_command({}, BASE, ["python", "-c", script])
    (told,) = tune.told
    assert (told[SCORE], told["failure"]) == (WORST, "no") and "finished" not in told


def test_one_that_falls_behind_is_asked_to_save_and_does_not_live_on(tune: Tune, tmp_path: Path) -> None:
    tune.stop_at = 1
    saves = f"""
import signal, sys, pathlib
def save(*_): pathlib.Path({str(tmp_path / "saved")!r}).touch(); sys.exit(75)
signal.signal(signal.SIGTERM, save)
""" + EPOCHS.replace("time.sleep(0.2)", "time.sleep(30)")
    with pytest.raises(SystemExit):
        run_command({}, BASE, ["python", "-c", saves])
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}', '{"step": "x", "train_epoch": 1}'])
def test_nonsense_is_no_progress(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert not Told("val_loss").look(tmp_path / "progress.json")


def test_less_loss_is_more_score(tmp_path: Path) -> None:
    told, file = Told("val_loss"), tmp_path / "progress.json"
    file.write_text(json.dumps({"step": 3, "train_epoch": 1, "metrics": {"val_loss": 0.25}}))
    assert told.look(file) and told.values[SCORE] == -0.25
    assert not told.look(file), "the same epoch is told once"
