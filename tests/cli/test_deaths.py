"""What `signspot deaths` writes and goes on from."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cli import chaos_report
from cli.deaths import Campaign, Result, read_results, row, run_deaths, table, write_results
from cli.deaths_page import section
from cli.interleavings_report import Story, Summary
from cli.rehearsal_screen import Screen
from contract.errors import ConfigError
from rehearsal.deaths import DEATHS


def result(number: int, lives_on: str = "", code: str = "c") -> Result:
    return Result(
        death=DEATHS[number].name,
        code=code,
        by="its own trap (code 6), terminated",
        phase="failed",
        reason="x" * 200,
        boxes=1,
        seconds=7.04,
        logs=("boot", "trainer"),
        events=3,
        lives_on=lives_on,
    )


def test_results_are_kept_in_the_order_of_the_list(tmp_path: Path) -> None:
    assert read_results(tmp_path) == {}
    write_results(tmp_path, {DEATHS[n].name: result(n) for n in (2, 0)})
    assert list(read_results(tmp_path)) == [DEATHS[0].name, DEATHS[2].name]
    assert read_results(tmp_path)[DEATHS[2].name] == result(2)


def test_a_row_says_what_lives_on_and_cuts_long_words() -> None:
    cells = row(result(0, lives_on="volumes left: vol-1"))
    assert cells[-1] == "NO: volumes left: vol-1"
    assert len(cells[2]) == 118
    assert row(result(0))[-3:] == ("7.0", "logs: boot, trainer; 3 events", "yes")


def test_the_page_counts_what_was_played_and_what_is_over() -> None:
    played = {DEATHS[0].name: result(0), DEATHS[1].name: result(1, lives_on="i-1 is alive", code="d")}
    text = section(played, None)
    first = f"2 of {len(DEATHS)} deaths played, not all on the same code of the box; over after each: 1 of 2."
    assert text.splitlines()[0] == first
    assert text.count("\n| ") == 4
    assert "NO: i-1 is alive" in text


def test_the_page_tells_of_interleavings_that_went_wrong() -> None:
    summary = Summary(
        command="signspot deaths --interleavings 9 --seed 3",
        seed=3,
        asked=9,
        code=("a", "b"),
        interleavings=8,
        seconds=120,
        boxes=11,
        instance_seconds=55.4,
        actions={"deploy": 8, "kill": 4},
        phases={"done": 3, "training": 5},
        wrong={4: ["i-1 is alive after the destroy"]},
    )
    text = section({}, summary)
    assert "8 of 9 interleavings (seed 3): 12 actions, 11 instances, 55 s of instance time, in 2 minutes" in text
    assert "After 1 of them" in text


def test_a_campaign_adds_up() -> None:
    new = Summary(command="c", seed=1, asked=2, code=())
    good = Story(0, ["deploy of a trainer", "kill", "destroy"], boxes=2, seconds=3.5, phase="training")
    bad = Story(1, ["deploy of a trainer", "destroy"], ["a volume left"], boxes=1, seconds=1.5)
    summary = new.with_story(good, 10).with_story(bad, 5)
    assert (summary.interleavings, summary.boxes, summary.instance_seconds, summary.seconds) == (2, 3, 5.0, 15.0)
    assert summary.actions == {"deploy": 2, "destroy": 2, "kill": 1}
    assert summary.phases == {"pending": 1, "training": 1}
    assert summary.wrong == {1: ["a volume left"]}


def test_an_unknown_death_is_refused_with_the_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no death 'old age'") as caught:
        run_deaths(Campaign("old age", "auto", tmp_path), Screen())
    assert "trainer hangs" in str(caught.value)


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_screen_no_word_is_cut(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, record=True)
    fault = "checkpoint torn in the middle of its upload"
    broken = chaos_report.Result(
        fault=fault,
        with_notice=False,
        interruptions=4,
        steps_twice=[3, 9],
        steps_allowed=8,
        seconds_to_training=[19.8, 25.5],
        checkpoints_refused=0,
        weights_equal=False,
    )
    console.print(chaos_report.table([broken]))
    console.print(table([result(number, lives_on="volumes left: vol-1") for number in range(len(DEATHS))]))
    text = console.export_text()
    assert "…" not in text
    assert {*fault.split(), "DIFFERENT", "BROKEN", "volumes"} <= set(text.split())
