from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainer.keypoints import load_keypoints
from trainer.normalise import VERSION
from trainer.predict import predict


def test_metrics_are_those_of_the_exported_model(model_dir: Path, test_clips: list[tuple[Path, str]]) -> None:
    metrics = json.loads((model_dir / "metrics.json").read_text())
    right = [predict(model_dir, load_keypoints(path)).word == label for path, label in test_clips]
    assert metrics["test_accuracy"] == np.mean(right)
    assert metrics["test_accuracy"] > 0.8
    assert metrics["test_accuracy_by_word"].keys() == {"hello", "thank-you", "yes"}
    assert metrics["settings"]["units"] == 16
    assert metrics["preprocessing"] == VERSION
    assert len(metrics["dataset_sha256"]) == 64
    with (model_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert metrics["best_train_epoch"] == int(best["train_epoch"])
    assert metrics["val_loss"] == pytest.approx(float(best["val_loss"]))


def test_the_model_holds_no_code(model_dir: Path) -> None:
    with zipfile.ZipFile(model_dir / "best_model.keras") as archive:
        assert not [name for name in archive.namelist() if name.endswith((".pkl", ".py"))]
        assert b"Lambda" not in archive.read("config.json")
