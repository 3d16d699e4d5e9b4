from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.offline import app
from tests.cli.schemas import check
from trainer.sweep_board import Board, Row


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the trainer was started with; its settings come last."""
    found: list[str] = []

    def run_trainer(*arguments: str, variables: dict[str, str] | None = None, **_: Any) -> int:
        found.extend([*arguments, (variables or {}).get("SM_HPS", "")])
        return 75

    monkeypatch.setattr("cli.workload.run_trainer", run_trainer)
    monkeypatch.setattr("cli.sweep.run_trainer", run_trainer)
    return found


def test_the_trainer_gets_the_settings_of_the_project(
    called: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "signspot.toml").write_text("[trainer]\nepochs = 7\n[sync]\ncheckpoint_steps = 9\n")
    typed = ["sweep", "s.toml", "data", "--out", "there", "-c", "units=64"]
    assert CliRunner().invoke(app, typed).exit_code == 75
    assert called[:-1] == ["trainer.sweep", "--out=there", "--ray=local", "--", "s.toml", "data"]
    settings = json.loads(called[-1])
    assert (settings["epochs"], settings["units"], settings["checkpoint_steps"]) == (7, 64, 9)
    assert "command" not in settings


def test_json_is_the_leaderboard(called: list[str], tmp_path: Path) -> None:
    board = Board("val_loss", 60, rows=[Row("a", "finished", {"units": 64}, -0.5, val_loss=0.5)])
    board.write(tmp_path)
    shown = CliRunner().invoke(app, ["sweep", "s.toml", "data", "--out", str(tmp_path), "--json"])
    check("sweep", shown.stdout)
    assert json.loads(shown.stdout)["trials"][0]["settings"] == {"units": 64}


def test_extract_hands_on_where_the_cluster_is(called: list[str]) -> None:
    assert CliRunner().invoke(app, ["extract", "clips", "--ray", "10.0.0.1:6379"]).exit_code == 75
    assert "--ray=10.0.0.1:6379" in called
