"""What a chaos campaign found, and how it is shown: a row for every kind of fault."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from pydantic import BaseModel, computed_field
from rich.table import Table

COLUMNS = ("fault", "struck", "steps twice: median, max", "allowed", "s to training", "refused", "weights", "promise")


class Result(BaseModel):
    """What one kind of fault cost."""

    fault: str
    with_notice: bool
    interruptions: int
    steps_twice: list[int]
    """Of each interruption: optimiser steps that were done a second time."""
    steps_allowed: int
    """What is promised: none with a notice, else what is trained in `checkpoint_seconds`."""
    seconds_to_training: list[float]
    """From the loss of the trainer to the first new step."""
    checkpoints_refused: int
    """Checkpoints that did not verify and were passed over."""
    weights_equal: bool

    @computed_field  # type: ignore[prop-decorator]
    @property
    def kept_promise(self) -> bool:
        """No more was lost than is promised, and the weights are those of the undisturbed run."""
        return self.weights_equal and max(self.steps_twice, default=0) <= self.steps_allowed


class Setting(BaseModel):
    """What makes two campaigns the same, so that one can go on where the other was stopped."""

    seed: int
    per_fault: int
    """How often each fault strikes."""
    data: str
    checkpoint_seconds: int
    steps: int
    """Of a whole run."""
    weights: str
    """SHA-256 of those of the undisturbed run."""


class Found(Setting):
    """What a campaign has found so far: `chaos.json`."""

    steps_per_second: float
    results: tuple[Result, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def good(self) -> bool:
        """Every promise was kept."""
        return all(result.kept_promise for result in self.results)


def table(results: Iterable[Result]) -> Table:
    shown = Table(title="Chaos", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in COLUMNS:
        shown.add_column(name, min_width=10 if name == "fault" else None, no_wrap=name in ("weights", "promise"))
    for result in results:
        shown.add_row(*row(result), style="" if result.kept_promise else "bold red")
    return shown


def row(result: Result) -> tuple[str, ...]:
    """One line of the table, as text."""
    twice, seconds = result.steps_twice or [0], result.seconds_to_training or [0.0]
    return (
        result.fault,
        str(result.interruptions),
        f"{statistics.median(twice):.0f}, {max(twice)}",
        str(result.steps_allowed),
        f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
        str(result.checkpoints_refused),
        "equal" if result.weights_equal else "DIFFERENT",
        "kept" if result.kept_promise else "BROKEN",
    )
