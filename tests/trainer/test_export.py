from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from contract.config import TrainerConfig
from contract.errors import DataError
from trainer.evaluate import Answers
from trainer.export import calibrated, export
from trainer.keypoints import load_keypoints
from trainer.normalise import CHANNELS, VERSION
from trainer.recognise import ModelFolder
from trainer.state import EpochRow, State


@pytest.fixture(scope="module")
def metrics(model_dir: Path) -> Any:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads((model_dir / "metrics.json").read_text(encoding="utf-8"), parse_constant=no_constant)


def test_the_folder(model_dir: Path) -> None:
    assert sorted(path.name for path in model_dir.iterdir()) == [
        "confusion.png",
        "curves.png",
        "history.csv",
        "inference.json",
        "labels.json",
        "metrics.json",
        "model.keras",
        "reliability.png",
        "report.html",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in model_dir.glob("*.png"))


def test_metrics_are_those_of_the_exported_model(
    model_dir: Path, test_clips: list[tuple[Path, str]], metrics: Any
) -> None:
    recogniser = ModelFolder.read(model_dir).load()
    clips = [load_keypoints(path) for path, _ in test_clips]
    targets = np.array([recogniser.labels.index(label) for _, label in test_clips], np.int32)
    # The logarithms of calibrated probabilities are as good as the logits, at temperature 1.
    answers = Answers(np.log(recogniser.probabilities(clips)), targets)
    assert metrics["test_sequences"] == len(clips)
    assert metrics["test_accuracy"] == answers.right.mean() > 0.8
    assert metrics["test_calibrated_loss"] == pytest.approx(answers.loss(1), abs=1e-4)
    assert metrics["test_words"].keys() == {"hello", "thank-you", "yes"}
    assert metrics["settings"]["units"] == 16
    assert metrics["preprocessing"] == VERSION
    assert len(metrics["dataset_sha256"]) == 64
    with (model_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert metrics["best_train_epoch"] == int(best["train_epoch"])
    assert metrics["val_loss"] == pytest.approx(float(best["val_loss"]))


def test_the_report_is_of_this_training(model_dir: Path, metrics: Any) -> None:
    page = (model_dir / "report.html").read_text(encoding="utf-8")
    for word in (metrics["dataset_sha256"], "thank-you", "data:image/png;base64,", "<polyline", "units = 16"):
        assert word in page
    assert "there is no" not in page


def test_what_inference_needs(model_dir: Path, metrics: Any) -> None:
    assert json.loads((model_dir / "inference.json").read_text()) == {
        "preprocessing": VERSION,
        "temperature": metrics["temperature"],
        "unknown_below": metrics["unknown_below"],
    }


def small_model() -> keras.Model:
    features = keras.Input((None, CHANNELS))
    mean = keras.layers.GlobalAveragePooling1D()(features)
    return keras.Model(features, keras.layers.Softmax()(keras.layers.Dense(4, name="logits")(mean)))


def test_the_temperature_changes_confidence_and_no_answer() -> None:
    model = small_model()
    features = np.random.default_rng(0).normal(0, 30, (50, 3, CHANNELS)).astype(np.float32)
    before, after = np.asarray(model(features)), np.asarray(calibrated(model, 4)(features))
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    softened = before**0.25
    np.testing.assert_allclose(after, softened / softened.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras 3.15
def test_a_picture_that_fails_costs_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a dataset without val is not calibrated, which is said."""
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    val, test = (SimpleNamespace(targets=np.zeros(size, np.int32), logits=logits[:size]) for size in (0, 6))
    loop: Any = SimpleNamespace(
        dataset=SimpleNamespace(labels=("a", "b", "c", "d"), train=[0] * 9, val=val, test=test, fingerprint="f" * 64),
        state=State(history=[EpochRow(train_epoch=1, step=2, loss=1, accuracy=0.5)], train_epoch=1, step=2),
        config=TrainerConfig(),
        learner=SimpleNamespace(model=small_model()),
        logits=lambda split: split.logits,
    )
    (tmp_path / "confusion.png").mkdir()
    (tmp_path / "report.html").mkdir()
    metrics = export(loop, tmp_path)
    said = capsys.readouterr().out
    assert "confusion.png could not be drawn (IsADirectoryError" in said
    assert "report.html could not be written (IsADirectoryError" in said
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert {path.name for path in tmp_path.iterdir()} >= {"model.keras", "curves.png", "reliability.png"}
    assert metrics["val_accuracy"] is None
    assert metrics["temperature"] == 1
    assert "there is no val split" in metrics["notes"][0]


def test_the_model_holds_no_code_and_needs_none_of_ours(model_dir: Path) -> None:
    modules: set[str] = set()

    def look(config: Any) -> None:
        if isinstance(config, dict):
            modules.add(config.get("module") or "keras")
            assert config.get("class_name") != "Lambda"
            assert ">" not in (config.get("registered_name") or "")  # "package>class": one of ours
        for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
            look(value)

    with zipfile.ZipFile(model_dir / "model.keras") as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
        look(json.loads(archive.read("config.json")))
    assert {module.split(".")[0] for module in modules} == {"keras"}


def test_a_model_with_code_in_it_is_refused(model_dir: Path, tmp_path: Path) -> None:
    """Keras writes a Lambda as Python's own bytecode; to load it would be to run whatever somebody put there."""
    folder = shutil.copytree(model_dir, tmp_path / "model")
    features = keras.Input((None, CHANNELS))
    keras.Model(features, keras.layers.Lambda(lambda each: each[:, 0, :3])(features)).save(folder / "model.keras")
    with pytest.raises(DataError, match="cannot be read") as refused:
        ModelFolder.read(folder).load()
    assert "Lambda" in refused.value.why
