"""Looks on while Tune works: the leaderboard on the screen and on the disk, and the end of the budget."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from trainer.sweep_board import SHOWN, Board
from trainer.sweep_file import Sweep

if TYPE_CHECKING:
    from rich.live import Live

EVERY = 2.0
"""Seconds between two writes of the leaderboard: what a sudden end may leave out of the budget's account."""


class Watch(tune.Callback):  # type: ignore[misc]
    """A callback of Tune, which keeps it with the sweep: what it needs anew each time it reads from the folder."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def setup(self, **_: Any) -> None:
        plan = Sweep.model_validate(json.loads((self._out / "sweep.json").read_text(encoding="utf-8"))["sweep"])
        self._budget = plan.budget.seconds
        before = Board.read(self._out)
        self._board = Board(plan.metric, before.seconds if before else 0.0, plan.budget.usd_per_hour)
        self._began, self._before, self._written = time.monotonic(), self._board.seconds, 0.0
        self._states: list[str] = []
        self._live = self._screen() if sys.stdout.isatty() else None

    def on_step_end(self, trials: list[Any], **_: Any) -> None:
        now = time.monotonic()
        over = self._before + now - self._began >= self._budget
        states = [trial.status for trial in trials]
        if over or states != self._states or now - self._written >= EVERY:
            self._written, self._states = now, states
            self._look(trials)
        if over:
            signal.raise_signal(signal.SIGUSR1)  # Tune saves what is under way, to be gone on with

    def on_trial_complete(self, trials: list[Any], **_: Any) -> None:
        self._look(trials)
        if self._live is None:
            print(self._board.head(), flush=True)

    def on_experiment_end(self, **_: Any) -> None:
        """What is under way has been ended by now, so that its states are no longer what they were."""
        if self._live is not None:
            self._live.stop()

    def _look(self, trials: list[Any]) -> None:
        self._board.seconds = self._before + time.monotonic() - self._began
        self._board.fill(trials)
        self._board.write(self._out)
        if self._live is not None:
            self._live.update(self._table())

    def _screen(self) -> Live:
        from rich.live import Live

        live = Live(refresh_per_second=1)
        live.start()
        return live

    def _table(self) -> Any:
        from rich.table import Table

        head, rows = self._board.cells()
        shown = Table(*head, title=self._board.head(), title_justify="left")
        for row in rows[:SHOWN]:
            shown.add_row(*row)
        return shown

    def __getstate__(self) -> dict[str, Any]:
        return {"_out": self._out}
