"""What a rehearsal shows, on a terminal and in its report."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from cli.rehearsal_screen import Report, Screen, Stretch
from contract.status import Event, Phase, Progress, Status

STATUS = Status(
    run="r",
    phase=Phase.TRAINING,
    heartbeat=datetime(2026, 1, 1, tzinfo=UTC),
    progress=Progress(step=5, steps=50, metrics=dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 0.5)),
)


def report(*, interruptions: int = 1, repeated: int = 0, left: tuple[str, ...] = ()) -> Report:
    stretch = Stretch(
        instance="i-1", seconds=90.0, cause="terminated", restored_step=0, last_step=50, repeated=repeated
    )
    return Report(
        stretches=(stretch,),
        events=(),
        accuracy=1.0,
        answer="hello (100.0%)",
        interruptions_planned=1,
        interruptions=interruptions,
        notice_seconds=20.0,
        left={"buckets": left},
    )


def shown(found: Report) -> str:
    text = io.StringIO()
    Screen(Console(file=text, width=120)).report(found)
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_what_is_busy_and_how_far_the_training_is(width: int) -> None:
    text = io.StringIO()
    screen = Screen(Console(file=text, force_terminal=True, width=width))
    with screen:
        with screen.busy("cdk deploy"):
            screen._bar.refresh()
        screen.progress(STATUS)
        screen._bar.refresh()
    assert "cdk deploy" in text.getvalue()
    assert "training" in text.getvalue()
    assert "5/50 steps accuracy 0.500, loss 0.500" in text.getvalue()
    assert ("val_loss" in text.getvalue()) == (width == 120)
    assert "…" not in text.getvalue().replace("cdk deploy …", "")


def test_a_good_report_says_so() -> None:
    assert report().good
    assert "1 of 1 (notice of 20 s, not 120), all survived" in shown(report())
    assert "left in the account: 0" in shown(report())


@pytest.mark.parametrize("bad", [report(interruptions=0), report(repeated=3), report(left=("forgotten",))])
def test_whatever_went_wrong_makes_a_report_bad(bad: Report) -> None:
    assert not bad.good


def test_an_interruption_that_never_came_is_not_called_survived() -> None:
    assert "survived" not in shown(report(interruptions=0))


def test_what_is_left_is_named() -> None:
    assert "left: buckets: forgotten" in shown(report(left=("forgotten",)))


def test_what_a_box_said_is_shown_as_it_is() -> None:
    event = Event(time=STATUS.heartbeat, kind="failed", instance="i-1", message="no [/opt/ml/model]")
    assert "failed: no [/opt/ml/model]" in shown(report().model_copy(update={"events": (event,)}))


INSTANCE = "i-0123456789abcdef0"
LONG = "checkpoint 0000000135-1c0ffee0-ba5e-4ba1-9a7b-0123456789ab, step 135, every hash verified"


@pytest.mark.parametrize("width", [80, 120])
def test_no_word_is_cut_and_what_wraps_stays_in_its_column(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, record=True, highlight=False)
    screen = Screen(console)
    screen.say(INSTANCE, LONG)
    event = Event(time=STATUS.heartbeat, kind="restored", instance=INSTANCE, message=LONG)
    stretch = report().stretches[0].model_copy(update={"instance": INSTANCE, "cause": "spot interruption"})
    screen.report(report().model_copy(update={"events": (event,), "stretches": (stretch,)}))
    lines = console.export_text().splitlines()
    assert not [line for line in lines if "…" in line or len(line) > width]
    assert [line for line in lines if INSTANCE in line and "spot interruption" in line]
    said = lines[: lines.index("")] if "" in lines else lines
    assert all(line.startswith(" " * 28) and line[28] != " " for line in said[1:]), said


def test_in_a_file_what_is_said_is_one_line() -> None:
    text = io.StringIO()
    Screen(Console(file=text, width=80)).say(INSTANCE, LONG)
    assert text.getvalue() == f"  0:00  {INSTANCE} {LONG}\n"
