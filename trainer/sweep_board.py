"""The leaderboard of a sweep. Enters: Tune's trials. Leaves: rows, best first; as text, JSON, CSV and a page.

Trials are ordered by the metric on the val split alone. What the test split says stands beside it and decides nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contract.page import Section, page, paragraph, share, table
from trainer.atomic import replacing
from trainer.sweep_trial import SCORE, WORST

JSON, CSV, PAGE = "leaderboard.json", "leaderboard.csv", "report.html"
SHOWN = 10
"""Trials of a screen."""


@dataclass(frozen=True)
class Row:
    trial: str
    state: str
    """waiting, running, finished, ended early, diverged or failed."""
    settings: Mapping[str, Any]
    score: float | None
    """The metric, the sign turned where less is better; None: no epoch yet."""
    val_accuracy: float | None = None
    val_loss: float | None = None
    test_accuracy: float | None = None
    train_epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    """That it has trained, all attempts together."""
    attempts: int = 1
    resumed_step: int = 0
    """Where its present attempt began."""
    worker: str = ""
    """Machine and process of its present attempt."""
    note: str = ""
    """Why it diverged or failed."""

    @classmethod
    def of(cls, trial: Any) -> Row:
        """`trial`: ray.tune.experiment.Trial."""
        result = trial.last_result or {}
        score = result.get(SCORE, WORST)
        numbers = {
            name: result[name]
            for name in ("val_accuracy", "val_loss", "test_accuracy", "train_epoch", "step", "resumed_step")
            if result.get(name) is not None
        }
        return cls(
            trial=trial.trial_id,
            state=_state(trial.status, result),
            settings=dict(trial.config),
            score=score if score > WORST else None,
            seconds=round(float(result.get("time_total_s", 0.0)), 1),
            attempts=trial.num_failures + 1,
            worker=f"{result['node_ip']} {result['pid']}" if "pid" in result else "",
            note=result.get("failure") or _why(trial),
            **numbers,
        )


@dataclass
class Board:
    metric: str
    seconds: float = 0.0
    """That the sweep has run, all attempts together."""
    usd_per_hour: float | None = None
    rows: Sequence[Row] = field(default_factory=tuple)

    @classmethod
    def read(cls, folder: Path) -> Board | None:
        """What an earlier attempt wrote; None without one."""
        try:
            content = json.loads((folder / JSON).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        rows = [Row(**row) for row in content.pop("trials")]
        content.pop("usd")
        return cls(**content, rows=rows)

    @property
    def usd(self) -> float | None:
        return None if self.usd_per_hour is None else self.seconds / 3600 * self.usd_per_hour

    @property
    def finished(self) -> list[Row]:
        return [row for row in self.rows if row.state == "finished"]

    @property
    def open(self) -> list[Row]:
        """Those that are not through."""
        return [row for row in self.rows if row.state in ("waiting", "running")]

    def fill(self, trials: Iterable[Any]) -> None:
        self.rows = sorted((Row.of(trial) for trial in trials), key=_place)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            **{"metric": self.metric, "seconds": round(self.seconds, 1), "usd_per_hour": self.usd_per_hour},
            **{"usd": self.usd, "trials": [asdict(row) for row in self.rows]},
        }
        _write(folder / JSON, json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
        text = io.StringIO()
        names = sorted({name for row in self.rows for name in row.settings})
        values = [asdict(row) for row in self.rows]
        writer = csv.writer(text, lineterminator="\n")
        columns = [name for name in Row.__dataclass_fields__ if name != "settings"]
        writer.writerow([*columns, *names])
        writer.writerows([*map(row.get, columns), *map(row["settings"].get, names)] for row in values)
        _write(folder / CSV, text.getvalue())
        _write(folder / PAGE, self._page())

    def head(self) -> str:
        """One line: how far it is."""
        best = f", best {self.metric} {_shown(self.finished[0], self.metric)}" if self.finished else ""
        cost = "" if self.usd is None else f", ${self.usd:.2f}"
        through = len(self.rows) - len(self.open)
        return f"{through} of {len(self.rows)} trials are through{best}; {self.seconds / 60:.1f} minutes{cost}"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The columns and rows of a table, for a screen or a page."""
        names = sorted({name for row in self.rows for name in row.settings})
        rows = [
            [
                *(row.trial, row.state, _number(row.val_accuracy), _number(row.val_loss), _number(row.test_accuracy)),
                *(str(row.train_epoch), f"{row.seconds:.0f}", str(row.attempts)),
                *(_number(row.settings.get(name)) for name in names),
            ]
            for row in self.rows
        ]
        head = ["trial", "", "val right", "val loss", "test right", "epochs", "seconds", "attempts", *names]
        return head, rows

    def _page(self) -> str:
        head, rows = self.cells()
        notes = "".join(paragraph(f"{row.trial}: {row.note}", dim=True) for row in self.rows if row.note)
        best = self.finished[0] if self.finished else None
        outcome = paragraph(self.head())
        if best:
            outcome += table(("setting of [trainer]", "of the best"), sorted(best.settings.items()))
            outcome += paragraph(f"On the test split: {share(best.test_accuracy) or 'unknown'}; it decided nothing.")
        return page(
            "signspot: a sweep",
            f"Ordered by {self.metric} of the weights kept. The best model is in model/, with a report of its own.",
            [Section("Outcome", outcome), Section("Trials", table(head, rows, tall=True) + notes)],
        )


def _place(row: Row) -> tuple[bool, float]:
    """Trials that finished first: theirs are the models there are."""
    return row.state != "finished", -(row.score if row.score is not None else WORST)


def _state(status: str, result: Mapping[str, Any]) -> str:
    """`status`: a Trial's of Ray Tune."""
    if status == "ERROR":
        return "failed"
    if result.get("failure"):
        return "diverged"
    if result.get("finished"):
        return "finished"
    return {"TERMINATED": "ended early", "RUNNING": "running"}.get(status, "waiting")


def _why(trial: Any) -> str:
    """The last line of what a trial failed with, again and again; empty for any other."""
    error = trial.get_error() if trial.status == "ERROR" else None
    return str(error).strip().rpartition("\n")[2] if error else ""


def _shown(row: Row, metric: str) -> str:
    return _number(row.val_accuracy if metric == "val_accuracy" else row.val_loss)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> None:
    with replacing(path, durable=False) as temporary:
        temporary.write_text(text, encoding="utf-8")
