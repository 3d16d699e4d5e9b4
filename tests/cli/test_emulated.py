"""`--json` of what plays on an emulated AWS: the object alone on standard output, the story on standard error."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from cli import chaos_report, deaths, interleavings_report
from cli.main import app
from cli.rehearsal_screen import Report, Screen, Stretch
from tests.cli import schemas

INSTANCE = Stretch(instance="i-1", seconds=90.0, cause="terminated", restored_step=0, last_step=50, repeated=0)
DEATH: dict[str, Any] = {"death": "old age", "code": "c", "by": "its own trap", "phase": "done", "reason": ""} | {
    "boxes": 1, "seconds": 7.0, "logs": ("boot",), "events": 3, "lives_on": ""
}  # fmt: skip
FAULT: dict[str, Any] = {"fault": "kill", "with_notice": False, "interruptions": 2, "steps_twice": [0, 9]} | {
    "steps_allowed": 9, "seconds_to_training": [3.0], "checkpoints_refused": 0, "weights_equal": True
}  # fmt: skip


def rehearsal(interruptions: int) -> Report:
    return Report(
        stretches=(INSTANCE,),
        events=(),
        accuracy=1.0,
        answer="hello (99.0%)",
        interruptions_planned=1,
        interruptions=interruptions,
        notice_seconds=20,
        left={"buckets": ()},
    )


def campaign(**changes: Any) -> chaos_report.Found:
    result = chaos_report.Result(**FAULT | changes)
    setting = {"seed": 0, "per_fault": 2, "data": "d", "checkpoint_seconds": 5, "steps": 99, "weights": "w"}
    return chaos_report.Found(**setting, steps_per_second=3.0, results=(result,))  # type: ignore[arg-type]


def buried(lives_on: str) -> deaths.Found:
    return deaths.Found(deaths=(deaths.Result(**DEATH | {"lives_on": lives_on}),))


def orders(wrong: dict[int, list[str]]) -> interleavings_report.Summary:
    return interleavings_report.Summary(command="signspot deaths", seed=0, asked=1, code=("c",), wrong=wrong)


@pytest.mark.parametrize(
    ("words", "runs", "verdict", "code"),
    [
        (("rehearse",), "cli.rehearse.rehearse_run", rehearsal(1), 0),
        (("rehearse",), "cli.rehearse.rehearse_run", rehearsal(0), 1),
        (("chaos",), "cli.chaos.run_campaign", campaign(), 0),
        (("chaos",), "cli.chaos.run_campaign", campaign(steps_twice=[10]), 1),
        (("chaos",), "cli.chaos.run_campaign", campaign(weights_equal=False), 1),
        (("deaths",), "cli.deaths.run_deaths", buried(""), 0),
        (("deaths",), "cli.deaths.run_deaths", buried("i-1 is alive"), 1),
        (("deaths", "--interleavings", "1"), "cli.interleavings.run_interleavings", orders({}), 0),
        (("deaths", "--interleavings", "1"), "cli.interleavings.run_interleavings", orders({0: ["left"]}), 1),
    ],
)
def test_the_verdict_is_all_that_standard_output_holds(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], runs: str, verdict: BaseModel, code: int
) -> None:
    def play(_: Any, screen: Screen) -> BaseModel:
        screen.say("AWS", "emulated")
        return verdict

    monkeypatch.setattr(runs, play)
    shown = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert schemas.check(words[0], shown.stdout)["good"] == (code == 0)
    assert "emulated" in shown.stderr
    assert shown.exit_code == code
    assert CliRunner().invoke(app, [*words], catch_exceptions=False).exit_code == code


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_ctrl_c_prints_no_verdict(monkeypatch: pytest.MonkeyPatch, json: tuple[str, ...]) -> None:
    def stopped(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.rehearse.rehearse_run", stopped)
    shown = CliRunner().invoke(app, ["rehearse", *json], catch_exceptions=False)
    assert shown.exit_code == 130
    assert "everything that was started is gone" in (shown.stderr if json else shown.stdout)
    assert not (json and shown.stdout)


def test_an_address_is_printed_as_the_settings_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.address.find_address", lambda: "203.0.113.7/32")
    plain, told = (CliRunner().invoke(app, ["address", *json]) for json in ((), ("--json",)))
    assert plain.stdout == "203.0.113.7/32\n"
    assert schemas.check("address", told.stdout) == {"ssh_from": "203.0.113.7/32"}
