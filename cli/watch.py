"""`signspot status --watch`: the same, again and again, until the run is over. Enters: a run. Leaves: an exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live as Screen

from cli.details import Details, look_closer, told
from cli.live import Client
from cli.preflight.forecast import expected_end
from cli.refusal import EXPIRED, REFUSED, UNKNOWN, code_of
from cli.status import Report, exit_code, report_on
from cli.status_screen import line, view
from contract.errors import SignspotError

REFRESH_SECONDS = 5.0
CLOSER_EVERY = 6
"""Looks at the status until curves and dollars are asked for again."""


def watch(
    client: Client,
    outputs: Mapping[str, str],
    run: str,
    console: Console,
    *,
    as_json: bool = False,
    write: Callable[[str], None] = print,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """On a terminal a screen that is redrawn; elsewhere a line, or one JSON object a line, for each change.

    What AWS does not answer in between is waited out. Returns what `status` would when the run is over.
    """
    before, looks = "", 0
    details: Details | None = None
    drawn = console.is_terminal and not as_json
    with Screen(console=console, auto_refresh=False) if drawn else nullcontext() as screen:
        while True:
            now = datetime.now(UTC)
            try:
                report = report_on(client, outputs, run, now)
                if details is None or looks % CLOSER_EVERY == 0:
                    details = look_closer(client, outputs, report, now)
            except SignspotError as error:
                if details is None or _lasts(error.__cause__):
                    raise
                console.print(f"{error.what}: {error.why}", markup=False)
                sleep(REFRESH_SECONDS)
                continue
            looks += 1
            over = report.status.phase.final or report.ending is not None
            if over and looks > 1:
                details = look_closer(client, outputs, report, now)
            details = details.model_copy(update={"finish": expected_end(report.status)})
            if screen:
                screen.update(view(report, details, now), refresh=True)
            elif (said := _said(report)) != before:
                before = said
                write(told(report, details).model_dump_json() if as_json else line(report, details, now))
            if over:
                return exit_code(report, now)
            sleep(REFRESH_SECONDS)


def _lasts(cause: BaseException | None) -> bool:
    """No waiting helps: the session is over, AWS refuses, or the run has been destroyed meanwhile."""
    return isinstance(cause, UNKNOWN) or code_of(cause) in {*EXPIRED, *REFUSED, "NoSuchBucket"}


def _said(report: Report) -> str:
    """All but the heartbeat: a beat alone is no news."""
    status = report.status
    said = (status.phase, status.reason, status.progress, status.checkpoint, status.health, report.live, report.ending)
    return repr(said)
