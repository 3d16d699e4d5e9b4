from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from trainer.keypoints import load_keypoints
from trainer.predict import main, predict


def test_prediction_is_sorted(model_dir: Path, test_clips: list[tuple[Path, str]]) -> None:
    prediction = predict(model_dir, load_keypoints(test_clips[0][0]))
    confidences = [guess.confidence for guess in prediction.top]
    assert len(prediction.top) == 3
    assert confidences == sorted(confidences, reverse=True)
    assert sum(confidences) == pytest.approx(1)
    assert prediction.word == prediction.top[0].word


def test_command_prints_word_and_top_three(
    model_dir: Path, test_clips: list[tuple[Path, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = test_clips[0][0]
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
