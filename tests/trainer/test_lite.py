from __future__ import annotations

import io
import json
import shutil
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import DataError, TrainerError
from tests.cli import schemas
from trainer.keypoints import load_keypoints
from trainer.lite import TOLERANCE, Interpreter, compare, main
from trainer.normalise import Features, normalise
from trainer.recognise import ModelFolder


@pytest.fixture(scope="module")
def exported(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command."""
    folder = shutil.copytree(model_dir, tmp_path_factory.mktemp("lite") / "möbile")
    said = io.StringIO()
    with redirect_stdout(said):
        assert main([str(folder)]) == 0
    out = folder / "model.tflite"
    assert said.getvalue().startswith(f"{out}: {out.stat().st_size:,} bytes; probabilities within ")
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return out


def test_as_json(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export_lite(_model_dir: Path, out: Path) -> float:
        out.write_bytes(bytes(1234))
        return 2e-7

    monkeypatch.setattr("trainer.lite.export_lite", export_lite)
    said, out = io.StringIO(), tmp_path / "möbile.tflite"
    with redirect_stdout(said):
        assert main([str(model_dir), "--out", str(out), "--json"]) == 0
    assert schemas.check("export", said.getvalue()) == {
        "file": str(out),
        "bytes": 1234,
        "difference": 2e-7,
        "clips": 5,
    }


def test_it_answers_as_the_model_does(model_dir: Path, exported: Path, test_clips: list[tuple[Path, str]]) -> None:
    """Real-shaped clips, whole and cut, of 1 frame to some hundred, one after the other in the same interpreter."""
    recogniser, lite = ModelFolder.read(model_dir).load(), Interpreter(exported)
    whole = [load_keypoints(path) for path, _ in test_clips]
    clips = [*whole, *(clip[: number + 1] for number, clip in enumerate(whole)), np.concatenate(whole)]
    assert len({len(clip) for clip in clips}) > len(whole)
    for clip in clips:
        wanted, got = recogniser.probabilities([clip])[0], lite.probabilities(normalise(clip))
        assert got.argmax() == wanted.argmax()
        np.testing.assert_allclose(got, wanted, atol=TOLERANCE)


def test_only_operations_of_litert_itself(exported: Path) -> None:
    """Neither TensorFlow's ("Flex…") nor anybody's own."""
    names = {operation["op_name"] for operation in Interpreter(exported)._interpreter._get_ops_details()}
    assert names
    assert not [name for name in names if name.startswith(("Flex", "CUSTOM", "TensorList"))]


def test_what_it_takes_to_use_it_is_inside(model_dir: Path, exported: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        assert sorted(archive.namelist()) == ["inference.json", "labels.json"]
        for name in archive.namelist():
            assert archive.read(name) == (model_dir / name).read_bytes()
    assert json.loads((model_dir / "labels.json").read_text()) == ["hello", "thank-you", "yes"]


class Says(Interpreter):
    """The same of whatever it is asked."""

    def __init__(self, *probabilities: float) -> None:
        self.says = np.array(probabilities, np.float32)

    def probabilities(self, features: Features) -> NDArray[np.float32]:
        return self.says


def test_another_answer_is_refused(model_dir: Path, test_clips: list[tuple[Path, str]]) -> None:
    clips = [normalise(load_keypoints(path)) for path, _ in test_clips]
    with pytest.raises(TrainerError, match="does not answer as the model does"):
        compare(ModelFolder.read(model_dir).load_model(), Says(0, 0, 1), clips)


def test_no_number_is_no_answer() -> None:
    """NaN is neither above the tolerance nor below it, and `argmax` takes it for the likeliest."""
    nan = float("nan")
    for model, lite in (((0.2, 0.8), (nan, nan)), ((0.2, 0.8), (0.2, nan)), ((nan, nan), (nan, nan))):

        def answers(features: Features, training: bool, said: tuple[float, ...] = model) -> NDArray[np.float32]:
            return np.array([said], np.float32)

        with pytest.raises(TrainerError, match="probabilities differ by nan"):
            compare(cast(Any, answers), Says(*lite), [np.ones((3, 5), np.float32)] * 2)


def test_refusals(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == DataError.exit_code
    assert "model.keras" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([str(model_dir), "--out", str(tmp_path / "file/model.tflite")]) == DataError.exit_code
    assert "cannot be written" in capsys.readouterr().err
