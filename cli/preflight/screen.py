"""Shows what a check found. Enters: its report. Leaves: tables that fit into 80 columns."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.preflight.facts import Price
from cli.preflight.finding import Finding, Verdict
from cli.preflight.forecast import Forecast

MARKS = {
    Verdict.GOOD: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.BAD: ("✗", "bold red"),
    Verdict.UNKNOWN: ("?", "yellow"),
}
MOST_POOLS = 12


def findings_table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 1), pad_edge=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True, max_width=18)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = MARKS[finding.verdict]
        lines: list[RenderableType] = [Text(finding.text)]
        if finding.mend:
            lines.append(Text.assemble(("→ ", style), (finding.mend, "bold" if style == "bold red" else "")))
        table.add_row(Text(mark, style), Text(finding.check), Group(*lines))
    return table


def prices_table(prices: list[Price]) -> Table:
    title = "Spot prices, dollars an hour"
    if len(prices) > MOST_POOLS:
        title += f" (the {MOST_POOLS} cheapest of {len(prices)})"
    table = Table("type", "zone", title=title, title_justify="left")
    for name in ("now", "7 days: median", "most"):
        table.add_column(name, justify="right")
    for price in prices[:MOST_POOLS]:
        now = Text(f"{price.now:.4f}", "" if price.fits else "red")
        table.add_row(price.type, price.zone, now, f"{price.median_7d:.4f}", f"{price.max_7d:.4f}")
    return table


def forecast_table(forecast: Forecast, now: datetime) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    hour = "not known" if forecast.usd_per_hour_now is None else f"${forecast.usd_per_hour_now:.4f}"
    most_an_hour = f"at most ${forecast.usd_per_hour_most:g}; volume and address about $0.02 more"
    table.add_row("an hour", f"{hour} now, {most_an_hour}")
    left, end = (forecast.stop_at - now).total_seconds() / 3600, f"{forecast.stop_at:%Y-%m-%d %H:%M} UTC"
    until = f"the group goes to 0 at {end} ({left:.1f} h)" if left > 0 else f"its time is over since {end}"
    table.add_row("ceiling", f"${forecast.ceiling_usd:.2f} of instance time; {until}")
    least, most = (seconds / 60 for seconds in forecast.first_step_seconds)
    minutes = f"{least:.1f}" if f"{least:.1f}" == f"{most:.1f}" else f"{least:.0f} to {most:.0f}"
    table.add_row("first step", f"{minutes} min after the launch ({forecast.first_step_source})")
    finish = f"{forecast.finish:%Y-%m-%d %H:%M} UTC: " if forecast.finish else ""
    table.add_row("finish", f"{finish}{forecast.finish_source}")
    return table


def show_report(
    findings: list[Finding], prices: list[Price], forecast: Forecast | None, now: datetime, console: Console
) -> None:
    console.print(findings_table(findings))
    if prices:
        console.print()
        console.print(prices_table(prices))
    if forecast:
        console.print()
        console.print(forecast_table(forecast, now))
