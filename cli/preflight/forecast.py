"""What a run will cost and when it is over, as far as is known. Enters: facts. Leaves: a `Forecast`, with sources."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel

from cli.preflight.facts import Price, Up
from contract.ceiling import Ceiling
from contract.config import Config
from contract.status import Event, Phase, Status

GUESS = timedelta(minutes=6), timedelta(minutes=15)
GUESSED = "a guess, never measured on AWS: start, boot, then several GB of packages; waiting for capacity not counted"
ENOUGH = timedelta(seconds=20)
"""Of training, before its pace says anything."""


class Forecast(BaseModel):
    usd_per_hour_now: float | None
    """Of the cheapest pool that the run would accept; None: there is none, or nobody says."""
    usd_per_hour_most: float
    ceiling_usd: float
    stop_at: datetime
    """When the group goes to 0 whatever happens; of a run that is up: what it keeps."""
    first_step_seconds: tuple[float, float]
    """From the launch of the instance, least and most."""
    first_step_source: str
    finish: datetime | None
    finish_source: str


def forecast(
    config: Config,
    prices: Sequence[Price],
    up: Up | None,
    status: Status | None,
    events: Sequence[Event],
    now: datetime,
) -> Forecast:
    """`status` and `events`: of a run of this name that is up, if there is one."""
    ceiling = up.ceiling if up else Ceiling.of(config.limits, now, config.machine)
    fitting = [price.now for price in prices if price.fits]
    least, most, source = _first_step(events)
    finish = expected_end(status) if status else None
    if finish:
        finish_source = "the run's own pace; early stopping may end it before"
    else:
        finish_source = "not known: no run has measured the pace on this data yet; at the latest, see ceiling"
    return Forecast(
        usd_per_hour_now=min(fitting, default=None),
        usd_per_hour_most=float(ceiling.rate),
        ceiling_usd=float(ceiling.usd),
        stop_at=ceiling.stop_at,
        first_step_seconds=(least.total_seconds(), most.total_seconds()),
        first_step_source=source,
        finish=finish,
        finish_source=finish_source,
    )


def _first_step(events: Sequence[Event]) -> tuple[timedelta, timedelta, str]:
    """Measured by the run's own attempts where there are any."""
    seconds: list[timedelta] = []
    begun: dict[str, datetime] = {}
    for event in sorted(events, key=lambda event: event.time):
        if event.kind == "booting":
            launched = event.machine.launched if event.machine else None
            begun[event.instance] = launched or event.time
        elif event.kind == "training" and event.instance in begun:
            seconds.append(event.time - begun.pop(event.instance))
    if seconds:
        return min(seconds), max(seconds), f"measured: {len(seconds)} attempts of this run"
    return *GUESS, GUESSED


def expected_end(status: Status) -> datetime | None:
    """When its planned steps are done, at the pace of this attempt; None while that is not known."""
    progress, since = status.progress, status.since
    if status.phase is not Phase.TRAINING or since is None:
        return None
    done, spent = progress.step - status.restored_step, status.heartbeat - since
    if done <= 0 or spent < ENOUGH:
        return None
    return status.heartbeat + spent / done * max(0, progress.steps - progress.step)
