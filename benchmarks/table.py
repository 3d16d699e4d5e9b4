"""A Result on a screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.result import Result, Spread

WIDTH = 140


def show(result: Result) -> None:
    console = Console()
    console.width = max(console.width, WIDTH)
    if result.skipped:
        console.print(f"{result.name}: nothing was measured: {result.skipped}")
        return
    for baseline in result.baselines:
        if baseline.missing:
            console.print(f"without {baseline.name}: {baseline.missing}")
    table = Table("measure", "unit", "ours", "theirs", "against", "ratio (quartiles)", "aim")
    for row in result.rows:
        ratio, aim = row.ratio, row.aim
        theirs = f"{Spread.of(row.theirs).median:.4g}" if row.theirs else ""
        ratios = f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})" if ratio else ""
        verdict = "" if aim is None else f"{aim.of} {aim.direction} {aim.number:g}: {'met' if row.met else 'missed'}"
        ours = f"{Spread.of(row.ours).median:.4g}"
        table.add_row(row.measure, row.unit, ours, theirs, row.against, ratios, verdict)
    console.print(table)
    if result.limit:
        console.print(result.limit)
