"""How a run is doing, on a screen. Enters: a report and what there is to say besides. Leaves: a table; or one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.details import Details
from cli.status import Report
from contract.status import Phase, Status, is_stale

BARS = "▁▂▃▄▅▆▇█"
WIDEST = 40
"""Characters of a bar or a sparkline: with its name and value it fits into 80 columns."""
PHASES = {Phase.DONE: "bold green", Phase.TRAINING: "green", Phase.FAILED: "bold red", Phase.EXPIRED: "bold red"}


def sparkline(values: Sequence[float], width: int = WIDEST) -> str:
    """The values as bars from their least to their most; more than `width` of them are averaged."""
    values = [value for value in values if math.isfinite(value)]
    if len(values) > width:
        edges = [len(values) * part // width for part in range(width + 1)]
        values = [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
    if not values:
        return ""
    least, span = min(values), max(values) - min(values)
    return "".join(BARS[round((value - least) / span * (len(BARS) - 1)) if span else 0] for value in values)


def view(report: Report, details: Details | None, now: datetime) -> Group:
    """The whole screen; `details`: None where nobody asked for them."""
    status = report.status
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("run", Text(status.run, "bold"))
    reason = f": {status.reason}" if status.reason else ""
    table.add_row("phase", Text(f"{status.phase}{reason}", PHASES.get(status.phase, "")))
    if status.phase is not Phase.PENDING:  # else no box has said anything yet
        _training(table, status, details, now)
        _box(table, status, now)
    if details:
        _money(table, details, now)
    if report.live:
        alive = ", ".join(f"{instance.id} ({instance.state})" for instance in report.live.instances)
        table.add_row("lives", f"{alive or 'no instance'}; the group wants {report.live.desired}")
        door = f"from {', '.join(report.live.ssh_from)}" if report.live.ssh_from else "closed"
        table.add_row("ssh", door)
    return Group(table, *_remarks(report, details, now))


def _training(table: Table, status: Status, details: Details | None, now: datetime) -> None:
    progress = status.progress
    step = f"{progress.step} of {progress.steps}" if progress.steps else f"{progress.step}"
    if progress.train_epochs:
        step += f", epoch {progress.train_epoch} of {progress.train_epochs}"
    table.add_row("step", step if progress.step or progress.steps else "none yet")
    if progress.steps:
        share = min(progress.step / progress.steps, 1.0)
        until = f", done about {_time(details.finish, now)}" if details and details.finish else ""
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=1.0, completed=share, width=WIDEST, complete_style="green"), f"{100 * share:.0f} %{until}"
        )
        table.add_row("", bar)
    curves = details.curves if details else {}
    for name, values in curves.items():
        table.add_row(name, f"{sparkline(values)} {values[-1]:.4f}")
    rest = {name: value for name, value in progress.metrics.items() if name not in curves}
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in sorted(rest.items()))
    table.add_row("metrics", Text(metrics or "none yet"))


def _box(table: Table, status: Status, now: datetime) -> None:
    time, again = status.checkpoint_time, status.attempts - 1
    saved = f"step {status.checkpoint_step}, verified in S3 {_ago(time, now)}" if time else "none yet"
    table.add_row("checkpoint", saved)
    times = f", interrupted or started again {'once' if again == 1 else f'{again} times'}" if again > 0 else ""
    where = f"{status.instance} {status.instance_type} {status.zone}, attempt {status.attempts}{times}"
    table.add_row("instance", where)
    usage = status.usage
    said = [
        f"GPU {usage.gpu_percent} % busy" if usage.gpu_percent is not None else "",
        f"its memory {usage.gpu_memory_percent} % full" if usage.gpu_memory_percent is not None else "",
        f"the box's memory {usage.memory_percent} % full" if usage.memory_percent is not None else "",
    ]
    if any(said):
        table.add_row("use", ", ".join(filter(None, said)))
    table.add_row("heartbeat", _ago(status.heartbeat, now))


def _money(table: Table, details: Details, now: datetime) -> None:
    price = f"; an hour is ${details.usd_per_hour:.4f} now" if details.usd_per_hour is not None else ""
    so_far = "not known" if details.usd is None else f"about ${details.usd:.2f}"
    most = f", at most ${details.ceiling_usd:.2f} of instance time" if details.ceiling_usd is not None else ""
    table.add_row("dollars", f"{so_far} so far{most}{price}")
    if details.stop_at:
        left = details.stop_at - now
        table.add_row("deadline", f"{_time(details.stop_at, now)} ({_in(left)})")


def _remarks(report: Report, details: Details | None, now: datetime) -> list[RenderableType]:
    status, ending = report.status, report.ending
    warnings = (*status.warnings, *report.warnings, *(details.warnings if details else ()))
    # Yellow is hardly seen on white: no more than one word in it.
    remarks: list[RenderableType] = [Text.assemble(("warning: ", "bold yellow"), warning) for warning in warnings]
    if ending:
        remarks.append(Text(ending.message, "bold" if ending.stopped else "bold red"))
        if ending.boot_log and not ending.stopped:
            remarks.append(Text(f"the end of the boot log of {ending.boot_log_of}:"))
            remarks += [Padding(Text(line), (0, 0, 0, 2)) for line in ending.boot_log]
    elif is_stale(status, now):
        why = status.health_reason or "The instance says nothing of it: it may not reach S3, or be gone."
        text = f"stale: no new checkpoint has been verified in S3 for more than {status.stale_after:.0f} s. {why}"
        remarks.append(Text(text, "bold red"))
    return remarks


def show(report: Report, now: datetime, console: Console, details: Details | None = None) -> None:
    console.print(view(report, details, now))


def line(report: Report, details: Details, now: datetime) -> str:
    """The same in one line, for where there is no terminal."""
    status = report.status
    words = [f"{now:%H:%M:%S}", status.run, str(status.phase)]
    if status.phase is not Phase.PENDING:
        words.append(f"step {status.progress.step}/{status.progress.steps}")
        words += [f"{name} {value:.4f}" for name, value in sorted(status.progress.metrics.items()) if "loss" in name]
        if status.checkpoint_time:
            words.append(f"checkpoint {status.checkpoint_step}, {_ago(status.checkpoint_time, now)}")
    if details.usd is not None:
        words.append(f"${details.usd:.2f}")
    if report.ending:
        words.append(report.ending.message)
    return "  ".join(words)


def _ago(time: datetime, now: datetime) -> str:
    return f"{_short(now - time)} ago"


def _in(left: timedelta) -> str:
    return f"in {_short(left)}" if left > timedelta() else f"{_short(-left)} ago"


def _short(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _time(time: datetime, now: datetime) -> str:
    return f"{time:%H:%M} UTC" if time.date() == now.date() else f"{time:%Y-%m-%d %H:%M} UTC"
