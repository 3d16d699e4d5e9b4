from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cli.offline import app
from contract.errors import ConfigError


@pytest.mark.parametrize(
    ("typed", "handed_on"),
    [
        (["m", "clip.mp4"], ["--", "m", "clip.mp4"]),
        (["m", "--camera"], ["--camera=0", "--", "m"]),
        (["m", "--camera", "2"], ["--camera=2", "--", "m"]),
        (["m", "a.mp4", "--overlay", "b.mp4", "--json"], ["--json", "--overlay=b.mp4", "--", "m", "a.mp4"]),
        (["m", "a.mp4", "--timeline", "--window", "2"], ["--timeline", "--window=2.0", "--", "m", "a.mp4"]),
        (["m"], ["--", "m"]),
    ],
)
def test_predict_hands_its_options_to_the_trainer(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], handed_on: list[str]
) -> None:
    called: list[str] = []

    def run_trainer(*arguments: str) -> int:
        called.extend(arguments)
        return 7

    monkeypatch.setattr("cli.workload.run_trainer", run_trainer)
    assert CliRunner().invoke(app, ["predict", *typed]).exit_code == 7
    assert called[0] == "trainer.predict"
    unchanged = {"--top=3", "--window=1.0", "--stride=0.1"}
    assert [argument for argument in called[1:] if argument not in unchanged] == handed_on


@pytest.mark.parametrize(
    ("typed", "module"),
    [
        (["sample", "folder"], "trainer.sample"),
        (["extract", "folder"], "trainer.extract"),
        (["export", "folder"], "trainer.lite"),
    ],
)
def test_json_is_the_trainers_to_print(monkeypatch: pytest.MonkeyPatch, typed: list[str], module: str) -> None:
    called: list[tuple[str, ...]] = []

    def run_trainer(*arguments: str) -> int:
        called.append(arguments)
        return 0

    monkeypatch.setattr("cli.workload.run_trainer", run_trainer)
    for flags in ([], ["--json"]):
        assert CliRunner().invoke(app, [*typed, *flags]).exit_code == 0
    without, asked = called
    assert asked[0] == module
    assert asked[-2:] == ("--", "folder")
    assert set(asked) - set(without) == {"--json"}


def test_a_camera_has_a_number() -> None:
    result = CliRunner().invoke(app, ["predict", "m", "clip.mp4", "--camera"])
    assert isinstance(result.exception, ConfigError)
    assert "--camera takes a number" in str(result.exception)
