"""What a benchmark leaves: one Result, as JSON in results/bench/; `page` makes docs/benchmarks.md of it.

A ratio is ours over theirs, value by value: the runs are paired, so that a busy machine is busy for both. Whether small
or large is good is said by the aim. A benchmark whose baseline is missing writes its rows without theirs, and says why.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FOLDER = Path("results/bench")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Frozen):
    """Median and quartiles of `count` values."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Raises StatisticsError when there is no value."""
        if len(values) == 1:
            return cls(median=values[0], low=values[0], high=values[0], count=1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median=median, low=low, high=high, count=len(values))


class Aim(_Frozen):
    """What the median of a row is to be: its ratio, or ours itself in the row's unit."""

    number: float
    direction: Literal["at most", "at least"] = "at most"
    of: Literal["ratio", "ours"] = "ratio"

    def met(self, value: float) -> bool:
        return value <= self.number if self.direction == "at most" else value >= self.number


class Baseline(_Frozen):
    """What ours runs beside; `missing` says why it did not run."""

    name: str
    version: str = ""
    missing: str = ""


class Row(_Frozen):
    """One measure. Where both sides have values, ours[i] and theirs[i] were measured one after the other."""

    measure: str
    unit: str
    ours: tuple[float, ...] = Field(min_length=1)
    theirs: tuple[float, ...] = ()
    least: tuple[float, ...] = ()
    """What it takes at the least, each measured with its pair; `limit` of the result says how that is known."""
    against: str = ""
    """The baseline's name, where there are several."""
    aim: Aim | None = None

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if self.theirs and len(self.theirs) != len(self.ours):
            raise ValueError(f"{len(self.ours)} of ours, {len(self.theirs)} of theirs")
        if self.least and len(self.least) != len(self.theirs):
            raise ValueError(f"{len(self.theirs)} of theirs, {len(self.least)} that are the least")
        return self

    @property
    def ratio(self) -> Spread | None:
        """Of the paired runs; None without a baseline's values, or where one of them is 0."""
        if not self.theirs or 0 in self.theirs:
            return None
        return Spread.of([one / other for one, other in zip(self.ours, self.theirs, strict=True)])

    @property
    def limit(self) -> Spread | None:
        """The least over theirs, pair by pair."""
        if not self.least or 0 in self.theirs:
            return None
        return Spread.of([one / other for one, other in zip(self.least, self.theirs, strict=True)])

    @property
    def met(self) -> bool | None:
        """None where there is no aim, or nothing to hold against it."""
        if not self.aim:
            return None
        value = self.ratio if self.aim.of == "ratio" else Spread.of(self.ours)
        return self.aim.met(value.median) if value else None

    @property
    def out_of_reach(self) -> bool:
        """The aim is missed, and the least would miss it, too."""
        return bool(self.aim and self.met is False and self.limit and not self.aim.met(self.limit.median))


class Published(_Frozen):
    """A number that somebody else publishes for the same thing; never measured here."""

    who: str
    value: str
    source: str


class Machine(_Frozen):
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    load: float
    """Average over the minute before; above 0.5 others were busy."""

    @classmethod
    def here(cls) -> Self:
        models = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        return cls(
            processor=models[0] if models else platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            system=platform.system(),
            python=platform.python_version(),
            load=round(os.getloadavg()[0], 2),
        )


class Result(_Frozen):
    """One benchmark's outcome; `name` is its file's name."""

    name: str
    what: str
    how: str
    baselines: tuple[Baseline, ...] = ()
    rows: tuple[Row, ...] = ()
    published: tuple[Published, ...] = ()
    limit: str = ""
    """Why an aim is missed, with the evidence."""
    skipped: str = ""
    """Why nothing was measured."""
    machine: Machine = Field(default_factory=Machine.here)
    measured: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def write(self, path: Path) -> None:
        """Whole or not at all: a benchmark cut short leaves nothing that looks finished."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
