"""`signspot simulate`: the numbers add up, and fit on a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from contract.errors import DataError
from tests.cli import schemas
from tests.cli.test_availability import SPOT


def simulated(*arguments: str) -> Any:
    shown = CliRunner().invoke(app, ["simulate", *arguments, "--json"], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return schemas.check("simulate", shown.stdout)


@pytest.fixture
def quiet(tmp_path: Path) -> str:
    """A trace in which nothing is taken away."""
    path = tmp_path / "quiet.csv"
    path.write_text("0,add,a\n36000000,add,b\n")
    return str(path)


def test_without_preemptions_only_the_price_differs(quiet: str) -> None:
    found = simulated(quiet, "--overhead", "0", "--price", "0.25", "--on-demand", "0.5")
    assert found["done"] == 100
    assert found["on_demand"]["makespan_hours"] == pytest.approx(4 + 603 / 3600)
    ours = found["ours"]
    assert ours["makespan_hours"]["median"] == ours["instance_hours"]["most"] == found["on_demand"]["makespan_hours"]
    assert ours["of_on_demand"]["median"] == pytest.approx(0.5)
    assert ours["of_omniscient"]["median"] == pytest.approx(1)
    assert ours["usd"]["median"] == pytest.approx(0.25 * (4 + 603 / 3600))


def test_what_checkpoints_cost_is_paid_by_us_alone(quiet: str) -> None:
    found = simulated(quiet, "--overhead", "20", "--boot-seconds", "0", "--save-seconds", "0")
    assert found["ours"]["makespan_hours"]["median"] == pytest.approx(5)
    assert found["omniscient"]["makespan_hours"]["median"] == pytest.approx(4)


def test_an_instance_taken_in_its_first_hour_is_not_charged(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("0,add,a\n1800000,remove,a\n1800000,add,b\n7200000,remove,b\n7200000,add,c\n90000000,add,d\n")
    found = simulated(str(path), "--price", "1")
    assert found["ours"]["preemptions"]["median"] == 2
    assert found["ours"]["uncharged_usd"]["median"] == pytest.approx(0.5)


def test_the_synthetic_one_is_the_same_with_the_same_seed() -> None:
    one, again, other = (simulated("--replays", "9", "--seed", seed) for seed in ("1", "1", "2"))
    assert one == again
    assert one["ours"] != other["ours"]
    assert one["ours"]["of_omniscient"]["least"] >= 1


def test_without_notice_work_is_lost_and_said(quiet: str) -> None:
    with_notice, without = simulated(), simulated("--no-notice")
    assert with_notice["at_most_seconds"] == with_notice["ours"]["lost_minutes"]["most"] == 0
    assert without["at_most_seconds"] == 30
    assert without["ours"]["lost_minutes"]["median"] > 0
    assert simulated("--save-seconds", "109", quiet)["at_most_seconds"] > 0


def test_a_trace_too_short_has_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("0,add,a\n60000,remove,a\n")
    found = simulated(str(path))
    assert (found["done"], found["ours"], found["omniscient"]) == (0, None, None)
    shown = CliRunner().invoke(app, ["simulate", str(path)])
    assert "Not done when the trace was over: 100 of 100" in shown.output


def test_files_are_zones_as_many_as_asked_for(quiet: str) -> None:
    assert simulated(quiet, quiet)["zones"] == 2
    one = simulated(quiet, quiet, "--zones", "1")
    assert (one["zones"], one["trace"]) == (1, ["quiet.csv"])
    assert simulated("--zones", "3", "--replays", "2")["zones"] == 3


def test_it_fits_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["simulate", "--no-notice", "--hours", "24", "--zones", "2", "--replays", "20"])
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith("│")]) == 9


def test_no_trace_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["simulate", str(tmp_path / "nothing.csv")])
    assert isinstance(result.exception, DataError)


@pytest.mark.parametrize("name", ["g4dn", "p3"])
def test_real_fleets(name: str) -> None:
    path = SPOT / f"{name}-trace.csv"
    if not path.exists():
        pytest.skip("no traces: ../shared/data/spot is absent")
    found = simulated(str(path))
    assert found["done"] == 100
    assert found["ours"]["preemptions"]["least"] >= 1
    assert found["ours"]["lost_minutes"]["most"] == 0
    assert found["ours"]["of_omniscient"]["least"] >= 1
    assert found["ours"]["of_on_demand"]["most"] < 1
