from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ConfigError, DataError
from trainer.settings import Directories, Settings
from trainer.stop import StopRequest
from trainer.sweep import check_val, conclude, main
from trainer.sweep_board import Board, Row
from trainer.sweep_file import Budget, Sweep

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make ray")

TINY = {
    **{"units": 8, "epochs": 60, "patience": 60, "batch_size": 4, "convolutions": 0, "bidirectional": False},
    **{"pooling": "last", "checkpoint_steps": 12},
}


def wait_for(done: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@needs_ray
def test_a_lost_worker_and_a_lost_head_cost_no_more_than_an_interval(small_sample: Path, tmp_path: Path) -> None:
    """The first trial's process is killed, and all is killed while the second trains; then both go on."""
    (tmp_path / "sweep.toml").write_text(
        'search = "grid"\nearly_stopping = "none"\n[trial]\ncpus = 2\n[space]\nlearning_rate = [0.01, 0.003]\n'
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "trainer.sweep", "sweep.toml", str(small_sample), "--out", str(out)]

    def start() -> subprocess.Popen[str]:
        variables = {**os.environ, "SM_HPS": json.dumps(TINY), "PYTHONPATH": str(Path.cwd())}
        return subprocess.Popen(command, cwd=tmp_path, env=variables, text=True, stdout=subprocess.PIPE)

    def row(learning_rate: float) -> Row | None:
        board = Board.read(out)
        found = [row for row in board.rows if row.settings["learning_rate"] == learning_rate] if board else []
        return found[0] if found else None

    def trains(learning_rate: float) -> Row | None:
        found = row(learning_rate)
        return found if found and found.state == "running" and found.step >= 24 else None

    process = start()
    victim = wait_for(lambda: trains(0.01), process)
    os.kill(int(victim.worker.split()[1]), signal.SIGKILL)
    seen = wait_for(lambda: trains(0.003), process)
    process.kill()
    process.communicate()

    process = start()
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0
    board = Board.read(out)
    assert board is not None
    for before in (victim, seen):
        after = row(before.settings["learning_rate"])
        assert after is not None
        assert after.state == "finished"
        assert 0 < before.step - 12 <= after.resumed_step
    assert not list(out.glob("trials/*/checkpoints"))
    assert said.endswith(f"its model is {out / 'model'}\n")

    best = board.rows[0]
    places = Directories(small_sample, tmp_path / "checkpoints", tmp_path / "model", tmp_path / "output")
    with warnings.catch_warnings():
        # Keras 3.15 saves weights through NumPy's older conversion protocol.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        from trainer.train import train

        train(places, Settings.from_json(json.dumps({**TINY, **best.settings})), StopRequest())
    kept, undisturbed = (json.loads((folder / "metrics.json").read_text()) for folder in (out / "model", places.model))
    assert kept == undisturbed
    assert best.val_loss is not None


FAKE = """
import json, sys
from pathlib import Path
from contract.errors import ConfigError
from trainer.cluster import joined
from trainer.sweep import conclude, sweep
from trainer.sweep_file import Sweep
from trainer.sweep_trial import SCORE, WORST, Base

def fake(config, base):
    from ray import tune
    for epoch in range(1, 10):
        if config["units"] == 13:
            tune.report({SCORE: WORST, "train_epoch": 1, "failure": "the loss became nan"})
            return
        good = 1 - (config["dropout"] - 0.3) ** 2 - 1 / (10 * epoch)
        tune.report({SCORE: good, "val_accuracy": good, "train_epoch": epoch, "step": epoch})
    model = Path(base.folder, tune.get_context().get_trial_id(), "model")
    model.mkdir(parents=True, exist_ok=True)
    (model / "metrics.json").write_text(json.dumps(config))
    tune.report({SCORE: good, "val_accuracy": good, "train_epoch": 9, "step": 9, "finished": True})

def plan(**budget):
    space = {"dropout": {"low": 0.0, "high": 0.9}, "units": [13, 64, 128]}
    return Sweep.model_validate({"search": "optuna", "asha": {"grace_epochs": 2}, "budget": budget, "space": space})

out, base = Path(sys.argv[1]), Base("data", {"epochs": 9}, "val_accuracy")
with joined("local", cpus=2):
    for budget in ({"hours": 1e-9}, {"usd": 1.0, "usd_per_hour": 0.1}):
        board = sweep(plan(trials=12, **budget), base, out, fake)
        print(conclude(plan(**budget), board, out, print), len(board.rows), len(board.open))
    try:
        sweep(plan(trials=13), base, out, fake)
    except ConfigError as error:
        print(error.why)
"""


@needs_ray
def test_a_budget_ends_a_sweep_and_a_larger_one_goes_on_with_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", FAKE, str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    used_up = next(number for number, line in enumerate(lines) if "the budget is used up" in line)
    assert lines[used_up + 1].startswith("6 ")
    assert "no trial finished" in done.stderr
    assert lines[-2] == "0 12 0"
    assert lines[-1] == "of another budget"

    board = Board.read(out)
    assert board is not None
    assert {row.state for row in board.rows} >= {"finished", "ended early"}
    assert all((row.state == "diverged") == (row.settings["units"] == 13) for row in board.rows)
    assert any(row.settings == {"dropout": 0.3, "units": 128} for row in board.rows)
    best = max(board.finished, key=lambda row: row.score or 0)
    assert board.rows[0] == best
    assert json.loads((out / "model/metrics.json").read_text()) == best.settings
    assert sorted(path.name for path in out.iterdir()) == [
        *("leaderboard.csv", "leaderboard.json", "model", "report.html", "sweep.json", "trials", "tune")
    ]


def test_how_it_ended(tmp_path: Path) -> None:
    plan = Sweep(space={"units": [8]}, budget=Budget(hours=1))
    done, waiting = Row("a", "finished", {"units": 8}, 0.5), Row("b", "waiting", {"units": 8}, None)
    told: list[str] = []
    assert conclude(plan, Board("val_accuracy", 10, rows=[done]), tmp_path, told.append) == 0
    assert conclude(plan, Board("val_accuracy", 10, rows=[done, waiting]), tmp_path, told.append) == 75
    assert "the same command goes on" in told[-1]
    assert conclude(plan, Board("val_accuracy", 3600, rows=[done, waiting]), tmp_path, told.append) == 0
    assert "raise hours or usd" in told[-1]
    assert conclude(plan, Board("val_accuracy", 3600, rows=[waiting]), tmp_path, told.append) == 6


def test_what_cannot_be_compared_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dataset.csv").write_text("path,label,split\na.npy,tea,train\n")
    with pytest.raises(DataError, match="has no val split"):
        check_val(tmp_path, "dataset.csv")
    assert main([str(tmp_path / "none.toml"), str(tmp_path), "--out", str(tmp_path)]) == ConfigError.exit_code
    assert "cannot be read" in capsys.readouterr().err
