from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli import train
from cli.project import Project, open_project
from contract.config import TrainerConfig
from contract.errors import DataError
from contract.status import Progress
from tests.cli import schemas
from trainer.settings import Directories, Settings


def project(*settings: str) -> Project:
    return open_project(settings)


def test_the_trainer_understands_what_it_is_told(tmp_path: Path) -> None:
    told = train.variables(
        project("epochs=7", "augment=true", "checkpoint_seconds=5", "table=small.csv", 'command=["sh"]'),
        tmp_path / "data",
        tmp_path / "out",
    )
    settings = Settings.from_json(told["SM_HPS"])
    assert (settings.trainer.epochs, settings.trainer.augment, settings.table) == (7, True, "small.csv")
    assert settings.trainer.command == TrainerConfig().command
    assert settings.checkpoint_seconds == 5
    out = tmp_path / "out"
    assert Directories.from_environment(told) == Directories(
        tmp_path / "data", out / "checkpoints", out / "model", out / "output"
    )


def test_the_datasets_folder_is_the_settings_when_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[tuple[str, ...], dict[str, str]]] = []

    def run(*arguments: str, variables: dict[str, str], aside: bool) -> int:
        assert not aside
        calls.append((arguments, variables))
        return 0

    monkeypatch.setattr(train, "run_trainer", run)
    assert train.train_here(project("data.path=somewhere"), None, Path("out"), overfit=True) == 0
    (arguments, told), *none = calls
    assert not none
    assert arguments == ("trainer.train", "--overfit")
    assert Path(told["SM_CHANNEL_TRAINING"]).name == "somewhere"
    assert Path(told["SM_CHANNEL_TRAINING"]).is_absolute()


@pytest.mark.parametrize(("code", "said"), [(75, "the same command goes on from there"), (0, ""), (3, "")])
def test_a_saved_training_says_how_to_go_on(
    code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_arguments: str, **_variables: Any) -> int:
        return code

    monkeypatch.setattr(train, "run_trainer", run)
    assert train.train_here(project(), Path("data"), Path("out"), overfit=False) == code
    out = capsys.readouterr().out
    assert said in out if said else not out


METRICS = {"val_accuracy": 0.9, "test_accuracy": None, "steps": 7}
PLACES = {"model": "out/model", "checkpoints": "out/checkpoints"}
NOWHERE = {"model": None, "checkpoints": None, "step": None, "train_epoch": None}
UNKNOWN = {"val_accuracy": None, "test_accuracy": None}


@pytest.mark.parametrize(
    ("code", "overfit", "told"),
    [
        (0, False, {"outcome": "done", **PLACES, "step": 6, "train_epoch": 2} | UNKNOWN | {"val_accuracy": 0.9}),
        (75, False, {"outcome": "saved", **PLACES, "model": None, "step": 6, "train_epoch": 2} | UNKNOWN),
        (0, True, {"outcome": "learnt"} | NOWHERE | UNKNOWN),
        (1, True, {"outcome": "not learnt"} | NOWHERE | UNKNOWN),
        (75, True, None),
        (3, False, None),
        (1, False, None),
    ],
)
def test_as_json_it_says_where_the_training_stands(
    code: int,
    overfit: bool,
    told: dict[str, Any] | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The log is aside; of a failure standard output says nothing."""

    def run(*_arguments: str, aside: bool, **_variables: Any) -> int:
        assert aside
        (out / "model").mkdir(parents=True)
        (out / "output").mkdir()
        (out / "model/metrics.json").write_text(json.dumps(METRICS))
        (out / "output/progress.json").write_text(Progress(step=6, train_epoch=2).model_dump_json())
        return code

    monkeypatch.chdir(tmp_path)
    out, settings = Path("out"), project()
    monkeypatch.setattr(train, "run_trainer", run)
    assert train.train_here(settings, Path("data"), out, overfit=overfit, as_json=True) == code
    shown = capsys.readouterr()
    assert ("the same command goes on" in shown.err) == (code == 75 and not overfit)
    assert (schemas.check("train", shown.out) if told else shown.out or None) == told


def test_stopped_before_there_was_any_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "run_trainer", lambda *_, **__: 75)
    assert train.train_here(project(), Path("data"), tmp_path / "out", overfit=False, as_json=True) == 75
    assert schemas.check("train", capsys.readouterr().out)["step"] is None


def test_a_dataset_in_s3_is_not_trained_from_here() -> None:
    with pytest.raises(DataError, match="s3://bucket/signs is not on this laptop"):
        train.train_here(project("data.path=s3://bucket/signs"), None, Path("out"), overfit=False)
