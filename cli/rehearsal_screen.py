"""What a rehearsal shows: one line for everything that happens, a bar for the training, a report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from pydantic import BaseModel, computed_field
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from cli.tell import tell
from contract.prices import ON_DEMAND_USD_PER_HOUR, SOURCE, SPOT_USD_PER_HOUR, bill
from contract.status import Event, Status
from rehearsal.datacenter import Happening

STYLES = {"AWS": "yellow", "stopped": "red"}
WIDE = 110
"""Columns from which four metrics fit beside the bar; two fit into 80."""


class Stretch(BaseModel):
    """One instance's part of the run."""

    instance: str
    seconds: float
    cause: str
    """What ended it."""
    restored_step: int
    """Of the checkpoint it went on from; 0: it began."""
    last_step: int
    repeated: int
    """Optimiser steps it did that an instance before it had done already."""


class Report(BaseModel):
    """What a rehearsal came to."""

    stretches: tuple[Stretch, ...]
    events: tuple[Event, ...]
    accuracy: float | None
    """On the test split; None: not measured."""
    answer: str
    """What `signspot predict` said of one file, with the model that was fetched."""
    interruptions_planned: int
    interruptions: int
    notice_seconds: float | None
    """None: instances were taken away without notice."""
    left: dict[str, tuple[str, ...]]
    """In the account, of each kind that was asked for."""

    @property
    def repeated(self) -> int:
        return sum(stretch.repeated for stretch in self.stretches)

    @property
    def left_count(self) -> int:
        return sum(len(ids) for ids in self.left.values())

    @property
    def seconds(self) -> list[float]:
        return [stretch.seconds for stretch in self.stretches]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spot_usd(self) -> float:
        """What the instances would have cost on AWS."""
        return bill(self.seconds, SPOT_USD_PER_HOUR)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def on_demand_usd(self) -> float:
        """The same, not as spot instances."""
        return bill(self.seconds, ON_DEMAND_USD_PER_HOUR)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def good(self) -> bool:
        """Every interruption was survived, no step done twice after a notice, nothing is left."""
        survived = self.interruptions == self.interruptions_planned
        return survived and not self.left_count and not (self.notice_seconds and self.repeated)


class Screen:
    """Lines on a terminal or in a file; the bar only on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(20, complete_style="green"),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=1, note="", visible=False)

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, who: str, what: str) -> None:
        tell(self.console, time.monotonic() - self._began, who, what, STYLES.get(who, "cyan"))

    def happening(self, happening: Happening) -> None:
        self.say("AWS", f"{happening.box.instance_id} {happening.kind}: {happening.message}")

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        task = self._bar.add_task(f"{what} …", total=None, note="")
        try:
            yield
        finally:
            self._bar.remove_task(task)

    def progress(self, status: Status) -> None:
        most = 4 if self.console.width >= WIDE else 2
        metrics = ", ".join(f"{name} {value:.3f}" for name, value in sorted(status.progress.metrics.items())[:most])
        self._bar.update(
            self._task,
            description=str(status.phase),
            total=max(status.progress.steps, 1),
            completed=status.progress.step,
            note=f"{status.progress.step}/{status.progress.steps} steps {metrics}",
            visible=True,
        )

    def quiet(self) -> Screen:
        """A screen that nobody sees."""
        return Screen(Console(quiet=True))

    def report(self, report: Report) -> None:
        self._bar.stop()
        for table in (_timeline(report), _instances(report)):
            self.console.print()
            self.console.print(table)
        self.console.print()
        notice = (
            "without notice" if report.notice_seconds is None else f"notice of {report.notice_seconds:g} s, not 120"
        )
        accuracy = "not measured" if report.accuracy is None else f"{report.accuracy:.3f} on the test split"
        facts = Table.grid(padding=(0, 2))
        facts.add_row("accuracy", accuracy)
        facts.add_row("prediction", report.answer.splitlines()[0])
        survived = (
            "all survived" if report.interruptions == report.interruptions_planned else "the training ended before"
        )
        facts.add_row(
            "interruptions", f"{report.interruptions} of {report.interruptions_planned} ({notice}), {survived}"
        )
        facts.add_row("steps done twice", str(report.repeated))
        facts.add_row(
            "bill on AWS",
            f"${report.spot_usd:.4f} spot, ${report.on_demand_usd:.4f} on demand, "
            f"for {sum(report.seconds):.0f} s of instances",
        )
        facts.add_row("", Text(SOURCE, style="dim"))
        self.console.print(facts)
        kinds = len(report.left)
        for kind, ids in report.left.items():
            if ids:
                self.console.print(f"left: {kind}: {', '.join(ids)}", style="red")
        style = "bold green" if report.left_count == 0 else "bold red"
        self.console.print(f"left in the account: {report.left_count}  ({kinds} kinds asked)", style=style)


def _timeline(report: Report) -> Table:
    table = Table(
        "time", title="Timeline of the run", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    table.add_column("instance", no_wrap=True)
    table.add_column("step", justify="right")
    table.add_column("what happened", overflow="fold")
    for event in report.events:
        seconds = "" if event.seconds is None else f" ({event.seconds:.1f} s)"
        table.add_row(
            f"{event.time:%H:%M:%S}", event.instance, str(event.step), Text(f"{event.kind}: {event.message}{seconds}")
        )
    return table


def _instances(report: Report) -> Table:
    table = Table(title="Instances", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("instance", no_wrap=True)
    for name in ("seconds", "from step", "to step", "done twice"):
        table.add_column(name, justify="right")
    table.add_column("ended by", overflow="fold")
    for part in report.stretches:
        numbers = (f"{part.seconds:.0f}", part.restored_step, part.last_step, part.repeated)
        table.add_row(part.instance, *(str(number) for number in numbers), part.cause)
    return table
