"""The real command in a process of its own: killed, stopped, resumed, refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.box import EXIT_SAVED
from contract.errors import DataError
from contract.status import Progress
from tests.trainer.scalars_for_tests import read_scalars
from trainer.checkpoint import Checkpoint, newest_checkpoint
from trainer.sample import make_sample
from trainer.settings import Directories, Settings
from trainer.stop import StopRequest
from trainer.train import asked_seconds, main, train

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = {
    **{"epochs": 100, "patience": 100, "batch_size": 4, "units": 8, "checkpoint_seconds": 1},
    **{"augment": True, "label_smoothing": 0.1, "class_weights": "balanced", "weight_decay": 0.01, "clip_norm": 1},
    **{"schedule": "cosine", "warmup_epochs": 2, "convolutions": 1, "bidirectional": True, "pooling": "attention"},
}
"""Everything that a resumed run has to go on with in exactly the same way is on."""
STEPS = 600


class Run:
    """One run, of as many attempts as it takes."""

    def __init__(self, directory: Path, dataset: Path) -> None:
        self.model, self.output, self.checkpoints = directory / "model", directory / "output", directory / "ckpt"
        self.dataset = dataset
        directory.mkdir()

    def start(self, **settings: Any) -> subprocess.Popen[str]:
        environment = os.environ | {
            "SM_CHANNEL_TRAINING": str(self.dataset),
            "SM_MODEL_DIR": str(self.model),
            "SM_OUTPUT_DIR": str(self.output),
            "SM_CHECKPOINT_DIR": str(self.checkpoints),
            "SM_HPS": json.dumps(SETTINGS | settings),
        }
        command = [sys.executable, "-m", "trainer.train"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, text=True, stdout=pipe, stderr=pipe)

    def finish(self, **settings: Any) -> str:
        """Run to the end. Returns what was printed."""
        process = self.start(**settings)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out

    def progress(self) -> Progress:
        try:
            return Progress.model_validate_json((self.output / "progress.json").read_text())
        except FileNotFoundError:
            return Progress()

    def checkpoint(self) -> Checkpoint:
        checkpoint = newest_checkpoint(self.checkpoints)
        assert checkpoint is not None
        return checkpoint

    def history(self) -> list[dict[str, str]]:
        with (self.model / "history.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def interrupt(process: subprocess.Popen[str], number: signal.Signals, when: Callable[[], bool]) -> str:
    """Send the signal as soon as `when` holds; returns what was printed until the end of the process."""
    deadline = time.monotonic() + 240
    while not when():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    return process.communicate(timeout=120)[0]


def assert_same_result(one: Run, other: Run) -> None:
    mine, theirs = one.checkpoint(), other.checkpoint()
    assert mine.state == theirs.state
    for left, right in zip([*mine.learner, *mine.best], [*theirs.learner, *theirs.best], strict=True):
        np.testing.assert_array_equal(left, right)
    for name in ("history.csv", "metrics.json", "labels.json"):
        assert (one.model / name).read_text() == (other.model / name).read_text()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, small_sample: Path) -> Run:
    run = Run(tmp_path_factory.mktemp("train") / "uninterrupted", small_sample)
    run.finish()
    return run


def test_results(uninterrupted: Run) -> None:
    metrics = json.loads((uninterrupted.model / "metrics.json").read_text())
    assert metrics["steps"] == STEPS
    assert metrics["test_accuracy"] > 0.8
    assert json.loads((uninterrupted.model / "labels.json").read_text()) == ["hello", "thank-you", "yes"]
    assert (uninterrupted.model / "model.keras").is_file()
    progress = uninterrupted.progress()
    assert (progress.step, progress.steps, progress.train_epoch) == (STEPS, STEPS, 100)
    assert [int(row["step"]) for row in uninterrupted.history()] == list(range(6, STEPS + 1, 6))


def test_killed_twice_ends_with_the_same_weights(tmp_path: Path, uninterrupted: Run) -> None:
    run = Run(tmp_path / "killed", uninterrupted.dataset)
    known: set[str] = set()

    def several_steps_after_a_new_checkpoint() -> bool:
        new = {path.name for path in run.checkpoints.glob("step-*.ckpt")} - known
        return bool(new) and run.progress().step > int(max(new)[5:13]) + 5

    for _ in range(2):
        process = run.start()
        interrupt(process, signal.SIGKILL, several_steps_after_a_new_checkpoint)
        assert process.returncode == -signal.SIGKILL
        assert run.progress().step < STEPS
        known = {path.name for path in run.checkpoints.glob("step-*.ckpt")}
    saved = run.checkpoint().state.step
    assert f"resumed at step {saved} (epoch {saved // 6 + 1})" in run.finish()
    assert_same_result(run, uninterrupted)


def test_stopped_twice_no_step_is_done_twice(tmp_path: Path, uninterrupted: Run) -> None:
    run = Run(tmp_path / "stopped", uninterrupted.dataset)
    for number, step in ((signal.SIGTERM, 50), (signal.SIGINT, 200)):
        process = run.start(checkpoint_seconds=1000)
        interrupt(process, number, lambda step=step: run.progress().step >= step)  # type: ignore[misc]
        assert process.returncode == EXIT_SAVED
        saved = run.checkpoint().state.step
        assert saved == run.progress().step
        assert not (run.output / "failure").exists()
    assert f"resumed at step {saved} " in run.finish(checkpoint_seconds=1000)
    assert_same_result(run, uninterrupted)
    curve = [step for name, step, _ in read_scalars(run.output / "tensorboard") if name == "val_loss"]
    assert curve == list(range(6, STEPS + 1, 6))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_sample: Path) -> Iterator[Path]:
    """`main` may be called here; returns its output folder."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for name, place in (("CHECKPOINT", "ckpt"), ("MODEL", "model"), ("OUTPUT", "output")):
        monkeypatch.setenv(f"SM_{name}_DIR", str(tmp_path / place))
    monkeypatch.setenv("SM_CHANNEL_TRAINING", str(small_sample))
    yield tmp_path / "output"
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("learning_rate", "code", "said"), [(0.02, 0, "it works"), (1e-9, 1, "it does NOT work")])
def test_overfit_tells_a_learner_from_one_that_is_not(
    learning_rate: float,
    code: int,
    said: str,
    in_process: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("trainer.overfit.STEPS", 120)
    monkeypatch.setenv("SM_HPS", json.dumps(SETTINGS | {"learning_rate": learning_rate, "units": 16}))
    assert main(["--overfit"]) == code
    assert said in capsys.readouterr().out
    assert not in_process.exists()


def test_an_ended_training_is_only_exported(tmp_path: Path, uninterrupted: Run) -> None:
    run = Run(tmp_path / "again", uninterrupted.dataset)
    run.checkpoints.symlink_to(uninterrupted.checkpoints)
    assert "train_epoch" not in run.finish()
    assert_same_result(run, uninterrupted)


def test_changed_settings_are_refused(tmp_path: Path, uninterrupted: Run) -> None:
    run = Run(tmp_path / "changed", uninterrupted.dataset)
    run.checkpoints.symlink_to(uninterrupted.checkpoints)
    process = run.start(units=16)
    process.communicate(timeout=120)
    assert process.returncode == 3
    assert "trainer.units was 8, is 16" in (run.output / "failure").read_text()


def test_changed_data_are_refused(tmp_path: Path, uninterrupted: Run) -> None:
    make_sample(tmp_path / "other", words=3, signers=4, per_word_and_signer=4, seed=1)
    run = Run(tmp_path / "changed", tmp_path / "other")
    run.checkpoints.symlink_to(uninterrupted.checkpoints)
    process = run.start()
    process.communicate(timeout=120)
    assert process.returncode == 3
    assert "the dataset differs: fingerprint" in (run.output / "failure").read_text()


@pytest.mark.parametrize("name", ["output", "checkpoints", "model"])
def test_what_cannot_be_written_is_refused_before_hours_of_training(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a file where a folder should be, as good as a folder of someone else's")
    places = {place: tmp_path / place for place in ("checkpoints", "model", "output")}
    directories = Directories(dataset=tmp_path / "no dataset either", **places)
    with pytest.raises(DataError, match=f"{name} cannot be written") as refusal:
        train(directories, Settings.from_json(""), StopRequest())
    assert refusal.value.why == "File exists"


def test_only_the_model_needs_tensorflow() -> None:
    code = "import sys, trainer.train, trainer.predict, trainer.sample; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_a_failure_leaves_its_reason(tmp_path: Path) -> None:
    run = Run(tmp_path / "failed", tmp_path / "nothing")
    process = run.start()
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 3
    reason = (run.output / "failure").read_text()
    assert "dataset.csv does not exist" in reason
    assert reason.strip() in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("12.5\n", 12.5), ("", None), ("soon", None), ("0", None), ("-1", None), ("inf", None)]
)
def test_an_interval_that_makes_no_sense_is_not_taken(tmp_path: Path, text: str, seconds: float | None) -> None:
    assert asked_seconds(tmp_path / "missing") is None
    (tmp_path / "asked").write_text(text)
    assert asked_seconds(tmp_path / "asked") == seconds
