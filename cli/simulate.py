"""`signspot simulate`: what interruptions would cost a run. Enters: a trace, a run's shape. Leaves: hours and dollars.

Arithmetic alone: nothing is started. Each replay is one of our runs on the trace, beside on-demand and the best that
anybody could have done. Method: docs/simulation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from cli.availability import HOUR, SECOND, Rates, Trace, generate, merge, read
from cli.replay import Ideal, Recovery, Run, omniscient, replay
from contract import prices
from contract.receipt import FREE_WITHIN


@dataclass(frozen=True)
class Plan:
    """What is simulated, as it was typed; dollars an hour, percent of training time."""

    files: tuple[Path, ...]
    zones: int | None
    rates: Rates
    hours: float
    interval_seconds: float
    boot_seconds: float
    save_seconds: float
    notice: bool
    overhead_percent: float
    price: float
    on_demand: float
    replays: int
    seed: int

    @property
    def work(self) -> int:
        return round(self.hours * HOUR)

    @property
    def work_with_overhead(self) -> int:
        return round(self.hours * HOUR / (1 - self.overhead_percent / 100))

    @property
    def recovery(self) -> Recovery:
        boot, save, promise = (
            round(seconds * SECOND) for seconds in (self.boot_seconds, self.save_seconds, self.interval_seconds)
        )
        return Recovery(boot, save, promise, self.notice)


class Spread(BaseModel):
    """Of all replays that were done."""

    median: float
    least: float
    most: float


class Ours(BaseModel):
    makespan_hours: Spread
    """From the first wish for an instance to the model in S3."""
    waited_hours: Spread
    """Of it, without an instance."""
    preemptions: Spread
    lost_minutes: Spread
    """Training that was done twice."""
    instance_hours: Spread
    usd: Spread
    """Every instance second, at least a minute an instance."""
    uncharged_usd: Spread
    """Contained in `usd`: of instances that were taken away in their first hour, which AWS does not charge."""
    of_on_demand: Spread
    """Dollars, as a share of on-demand's."""
    of_omniscient: Spread
    """Dollars, over the omniscient schedule's."""


class Best(BaseModel):
    """The omniscient schedule: the least instance time with the trace known beforehand, done no later than ours."""

    makespan_hours: Spread
    preemptions: Spread
    instance_hours: Spread
    usd: Spread


class OnDemand(BaseModel):
    """One instance that is never taken away."""

    makespan_hours: float
    usd: float


class Simulation(BaseModel):
    trace: tuple[str, ...]
    """Names of the files; empty: synthetic."""
    zones: int
    trace_hours: float
    hours: float
    """Of training without checkpoints and interruptions."""
    interval_seconds: float
    """What a kill without notice may cost: sync.checkpoint_seconds."""
    boot_seconds: float
    save_seconds: float
    notice: bool
    overhead_percent: float
    usd_per_hour: float
    on_demand_usd_per_hour: float
    seed: int
    replays: int
    done: int
    """Replays whose work was done before the trace was over; the numbers below are of these alone."""
    at_most_seconds: float
    """What one preemption can cost of training: 0 where the notice is used."""
    ours: Ours | None
    """None: no replay was done."""
    omniscient: Best | None
    on_demand: OnDemand


def simulate(plan: Plan) -> Simulation:
    """Raises DataError for a file that is no trace."""
    work, recovery = plan.work_with_overhead, plan.recovery
    draw = _traces(plan)
    pairs: list[tuple[Run, Ideal]] = []
    for number in range(plan.replays):
        trace = draw(number)
        run = replay(trace, work, recovery, np.random.default_rng([plan.seed, number, 1]))
        ideal = omniscient(trace, plan.work, recovery.boot, recovery.save, run.ended) if run.done else None
        if ideal:
            pairs.append((run, ideal))
    alone = plan.work + recovery.boot + recovery.save
    on_demand = OnDemand(makespan_hours=alone / HOUR, usd=prices.bill([alone / SECOND], plan.on_demand))
    return Simulation(
        trace=tuple(path.name for path in _chosen(plan)),
        zones=_zones(plan),
        trace_hours=draw(0).until / HOUR,
        hours=plan.hours,
        interval_seconds=plan.interval_seconds,
        boot_seconds=plan.boot_seconds,
        save_seconds=plan.save_seconds,
        notice=plan.notice,
        overhead_percent=plan.overhead_percent,
        usd_per_hour=plan.price,
        on_demand_usd_per_hour=plan.on_demand,
        seed=plan.seed,
        replays=plan.replays,
        done=len(pairs),
        at_most_seconds=0 if recovery.heeds_notice else recovery.at_most / SECOND,
        ours=_ours(pairs, plan.price, on_demand.usd) if pairs else None,
        omniscient=_best([ideal for _, ideal in pairs], plan.price) if pairs else None,
        on_demand=on_demand,
    )


def _zones(plan: Plan) -> int:
    return len(_chosen(plan)) or plan.zones or 1


def _chosen(plan: Plan) -> tuple[Path, ...]:
    return plan.files[: plan.zones]


def _traces(plan: Plan) -> Callable[[int], Trace]:
    """The trace of each replay: always the same of files, another one each time of the generator."""
    if plan.files:
        zones = [read(path, np.random.default_rng([plan.seed, zone])) for zone, path in enumerate(_chosen(plan))]
        known = merge(zones)
        return lambda _: known
    until = round((4 * plan.hours + 24) * HOUR)  # seldom too short, and not so long that it takes minutes
    return lambda number: generate(_zones(plan), plan.rates, until, np.random.default_rng([plan.seed, number]))


def _spread(numbers: Sequence[float]) -> Spread:
    return Spread(median=float(np.median(numbers)), least=min(numbers), most=max(numbers))


def _ours(pairs: Sequence[tuple[Run, Ideal]], price: float, on_demand_usd: float) -> Ours:
    runs = [run for run, _ in pairs]
    usd = [_bill(run, price) for run in runs]
    return Ours(
        makespan_hours=_spread([run.ended / HOUR for run in runs]),
        waited_hours=_spread([run.waited / HOUR for run in runs]),
        preemptions=_spread([run.preemptions for run in runs]),
        lost_minutes=_spread([run.lost / (60 * SECOND) for run in runs]),
        instance_hours=_spread([run.instance_time / HOUR for run in runs]),
        usd=_spread(usd),
        uncharged_usd=_spread([_uncharged(run, price) for run in runs]),
        of_on_demand=_spread([dollars / on_demand_usd for dollars in usd]),
        of_omniscient=_spread(
            [dollars / _usd(ideal, price) for dollars, (_, ideal) in zip(usd, pairs, strict=True)],
        ),
    )


def _best(ideals: Sequence[Ideal], price: float) -> Best:
    return Best(
        makespan_hours=_spread([ideal.ended / HOUR for ideal in ideals]),
        preemptions=_spread([ideal.boxes - 1 for ideal in ideals]),
        instance_hours=_spread([ideal.instance_time / HOUR for ideal in ideals]),
        usd=_spread([_usd(ideal, price) for ideal in ideals]),
    )


def _bill(run: Run, price: float) -> float:
    return prices.bill([(life.end - life.start) / SECOND for life in run.lives], price)


def _uncharged(run: Run, price: float) -> float:
    short = [(life.end - life.start) / SECOND for life in run.lives if not life.done]
    return prices.bill([seconds for seconds in short if seconds < FREE_WITHIN.total_seconds()], price)


def _usd(ideal: Ideal, price: float) -> float:
    """Without the minute at least: the least that anybody could pay."""
    return ideal.instance_time / HOUR * price


def show(found: Simulation, console: Console) -> None:
    """For a terminal of 80 columns."""
    name = ", ".join(found.trace) or "synthetic"
    zones = f"{found.zones} zone{'' if found.zones == 1 else 's'}"
    console.print(
        f"{found.hours:g} h of training; {zones}, {found.trace_hours:.1f} h: {name}", soft_wrap=True, markup=False
    )
    console.print(f"boot {found.boot_seconds:g} s, save {found.save_seconds:g} s, {_preemption(found)}")
    if found.ours and found.omniscient:
        console.print(_table(found.ours, found.omniscient, found.on_demand))
        console.print(
            f"Medians of {found.done} replays (least–most). Spot ${found.usd_per_hour:g}, "
            f"on demand ${found.on_demand_usd_per_hour:g} an hour."
        )
    if found.done < found.replays:
        late = found.replays - found.done
        console.print(f"Not done when the trace was over: {late} of {found.replays} replays.", style="yellow")


def _preemption(found: Simulation) -> str:
    if not found.at_most_seconds:
        return "notice used: no training is lost"
    why = "too short to save" if found.notice else "not used"
    return f"notice {why}: at most {found.at_most_seconds:g} s of training lost"


def _table(ours: Ours, best: Best, on_demand: OnDemand) -> Table:
    table = Table("", "ours", "on demand", "omniscient")
    for column in table.columns[1:]:
        column.justify = "right"
    hours, usd = on_demand.makespan_hours, on_demand.usd
    table.add_row("hours until done", _text(ours.makespan_hours), f"{hours:.2f}", _text(best.makespan_hours))
    table.add_row("without an instance", _text(ours.waited_hours), "0.00", "")
    table.add_row("preemptions", _text(ours.preemptions, 0), "0", _text(best.preemptions, 0))
    table.add_row("done twice, minutes", _text(ours.lost_minutes), "0.00", "0.00")
    table.add_row("instance hours", _text(ours.instance_hours), f"{hours:.2f}", _text(best.instance_hours))
    table.add_row("dollars", _text(ours.usd), f"{usd:.2f}", _text(best.usd))
    table.add_row("of it not charged", _text(ours.uncharged_usd), "", "")
    table.add_row("÷ on demand", _text(ours.of_on_demand), "1.00", f"{best.usd.median / usd:.2f}")
    table.add_row("÷ omniscient", _text(ours.of_omniscient), "", "1.00")
    return table


def _text(spread: Spread, digits: int = 2) -> str:
    if spread.least == spread.most:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.least:.{digits}f}–{spread.most:.{digits}f})"
