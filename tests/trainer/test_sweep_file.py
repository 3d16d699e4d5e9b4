from __future__ import annotations

import math
from pathlib import Path

import pytest

import trainer.sweep_file
from contract.config import TrainerConfig
from contract.errors import ConfigError
from trainer.sweep_file import Range, Sweep, load_sweep

SPACE = "[space]\nunits = [64, 128]\n"


def load(tmp_path: Path, text: str) -> Sweep:
    (tmp_path / "sweep.toml").write_text(text, encoding="utf-8")
    return load_sweep(tmp_path / "sweep.toml")


def test_the_example_in_the_docstring_is_right(tmp_path: Path) -> None:
    example = (trainer.sweep_file.__doc__ or "").split("\n\n", 1)[1]
    sweep = load(tmp_path, example)
    assert sweep.space["learning_rate"] == Range(low=1e-4, high=1e-2, log=True)
    assert sweep.space["units"] == [64, 128, 256]
    assert sweep.budget.seconds == 7200


def test_what_is_left_out_has_defaults_and_names_are_those_of_c(tmp_path: Path) -> None:
    sweep = load(tmp_path, '[space]\n"trainer.units" = [64.0]\nbidirectional = [true, false]')
    assert sweep.space == {"units": [64], "bidirectional": [True, False]}
    assert type(sweep.space["units"][0]) is int
    assert (sweep.search, sweep.budget.trials, sweep.budget.seconds) == ("random", 20, math.inf)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "space: Field required"),
        ("[space]", "space: Dictionary should have at least 1 item"),
        ("serach = 'grid'\n" + SPACE, "serach: there is no such entry (did you mean 'search'?)"),
        ("[budget]\ntrails = 3\n" + SPACE, "budget.trails: there is no such entry (did you mean 'trials'?)"),
        ("[budget]\nusd = 3\n" + SPACE, "usd needs usd_per_hour"),
        ("[space]\nunit = [64]", "there is no setting 'unit' of [trainer] (did you mean 'units'?)"),
        ("[space]\nmax_usd = [1]", "there is no setting 'max_usd' of [trainer]"),
        ("[space]\ncommand = [['sh']]", "there is no setting 'command' of [trainer]"),
        ("[space]\nunits = []", "units: the list is empty"),
        ("[space]\nunits = [64.5]", "units = 64.5: "),
        ("[space]\nunits = 64", "space.units: give a list of values, or a range"),
        ("[space]\nunits = { low = 0, high = 9 }", "units = 0.0: Input should be greater than or equal to 1"),
        ("[space]\ndropout = { low = 0.5, high = 0.1 }", "low = 0.5 is not below high = 0.1"),
        ("[space]\nnonsense = { low = 0, high = 0.1, log = true }", "log = true needs low above 0"),
        ("[space]\npooling = { low = 1, high = 2 }", "pooling is no number: give a list of values"),
        ("search = 'grid'\n[space]\ndropout = { low = 0, high = 0.5 }", "a grid takes a list of values, not a range"),
        ("search = 'grid'\n[budget]\ntrials = 1\n" + SPACE, "the grid has 2 trials, budget.trials allows 1"),
        ("units = [", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_sweep(tmp_path / "sweep.toml")


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("hours = 2", 7200), ("usd = 1\nusd_per_hour = 0.5", 7200), ("hours = 1\nusd = 1\nusd_per_hour = 0.5", 3600)],
)
def test_hours_and_dollars_are_time(tmp_path: Path, budget: str, seconds: float) -> None:
    assert load(tmp_path, f"[budget]\n{budget}\n{SPACE}").budget.seconds == seconds


def test_whether_the_settings_of_now_are_in_the_space(tmp_path: Path) -> None:
    sweep = load(tmp_path, SPACE + "dropout = { low = 0.1, high = 0.3 }")
    assert sweep.holds(TrainerConfig(units=128, dropout=0.3))
    assert not sweep.holds(TrainerConfig(units=32, dropout=0.3))
    assert not sweep.holds(TrainerConfig(units=128, dropout=0.4))
