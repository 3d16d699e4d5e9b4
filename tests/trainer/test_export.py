from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from contract.config import TrainerConfig
from contract.errors import DataError
from trainer.dataset import load_dataset
from trainer.export import export
from trainer.keypoints import load_keypoints
from trainer.loop import Loop
from trainer.model import Learner
from trainer.predict import main, predict

# Keras 3.15 saves weights through NumPy's older conversion protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory, small_sample: Path) -> Path:
    config = TrainerConfig(units=16, epochs=12, batch_size=4, learning_rate=0.01)
    dataset = load_dataset(small_sample)
    loop = Loop(
        Learner(config, len(dataset.labels)),
        dataset,
        config,
        save=lambda _: None,
        report=lambda _: None,
        check_stop=lambda: None,
        checkpoint_seconds=1000,
    )
    loop.run()
    directory = tmp_path_factory.mktemp("model") / "ünïcode"
    export(loop, directory)
    return directory


def clips(small_sample: Path) -> list[tuple[Path, str]]:
    with (small_sample / "dataset.csv").open(newline="") as table:
        return [(small_sample / row["path"], row["label"]) for row in csv.DictReader(table) if row["split"] == "test"]


def test_metrics_are_those_of_the_exported_model(model_dir: Path, small_sample: Path) -> None:
    metrics = json.loads((model_dir / "metrics.json").read_text())
    right = [predict(model_dir, load_keypoints(path)).word == label for path, label in clips(small_sample)]
    assert metrics["test_accuracy"] == np.mean(right)
    assert metrics["test_accuracy"] > 0.8
    assert metrics["test_accuracy_by_word"].keys() == {"hello", "thank-you", "yes"}
    assert metrics["settings"]["units"] == 16
    with (model_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert metrics["best_train_epoch"] == int(best["train_epoch"])
    assert metrics["val_loss"] == pytest.approx(float(best["val_loss"]))


def test_the_model_holds_no_code(model_dir: Path) -> None:
    with zipfile.ZipFile(model_dir / "best_model.keras") as archive:
        assert not [name for name in archive.namelist() if name.endswith((".pkl", ".py"))]
        assert b"Lambda" not in archive.read("config.json")


def test_prediction_is_sorted(model_dir: Path, small_sample: Path) -> None:
    prediction = predict(model_dir, load_keypoints(clips(small_sample)[0][0]))
    confidences = [guess.confidence for guess in prediction.top]
    assert len(prediction.top) == 3
    assert confidences == sorted(confidences, reverse=True)
    assert sum(confidences) == pytest.approx(1)
    assert prediction.word == prediction.top[0].word


def test_command_prints_word_and_top_three(
    model_dir: Path, small_sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clips(small_sample)[0][0]
    word = predict(model_dir, load_keypoints(path)).word
    assert main([str(model_dir), str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{word} (")
    assert len(lines) == 4
    assert main([str(model_dir), str(path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["word"] == answer["top"][0]["word"] == word
    assert answer["confidence"] == answer["top"][0]["confidence"]


def test_command_explains_a_bad_file(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "video.npy").write_text("not keypoints")
    assert main([str(model_dir), str(tmp_path / "video.npy")]) == 3
    assert "is not a .npy file" in capsys.readouterr().err


def test_incomplete_model_folder(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no labels\.json"):
        predict(tmp_path, np.ones((3, 2, 21, 3), np.float32))
    (tmp_path / "labels.json").write_text("[]")
    with pytest.raises(DataError, match=r"holds no best_model\.keras"):
        predict(tmp_path, np.ones((3, 2, 21, 3), np.float32))


def test_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["tea"]')
    (tmp_path / "best_model.keras").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        predict(tmp_path, np.ones((3, 2, 21, 3), np.float32))


def test_labels_of_another_model(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["tea"]')
    (tmp_path / "best_model.keras").write_bytes((model_dir / "best_model.keras").read_bytes())
    with pytest.raises(DataError, match=r"knows 3 words, its labels\.json names 1"):
        predict(tmp_path, np.ones((3, 2, 21, 3), np.float32))
