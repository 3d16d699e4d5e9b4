from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.sweep_board import CSV, PAGE, Board
from trainer.sweep_trial import WORST


def trial(name: str, status: str = "TERMINATED", **result: Any) -> SimpleNamespace:
    error = RuntimeError("Trace:\n  somewhere\nDataError: it is gone\n")
    about = {"trial_id": name, "status": status, "config": {"units": 64}, "last_result": result, "num_failures": 1}
    return SimpleNamespace(**about, get_error=lambda: error)


def board() -> Board:
    found = Board("val_accuracy", seconds=1800, usd_per_hour=0.2)
    found.fill(
        [
            trial("waits", "PENDING"),
            trial("early", score=0.99, val_accuracy=0.99, train_epoch=3),
            trial("good", score=0.9, val_accuracy=0.9, test_accuracy=0.7, finished=True, time_total_s=12.34),
            trial("lost", "ERROR", score=0.5),
            trial("wild", score=WORST, failure="the loss became nan after step 3"),
            trial("best", score=0.95, val_accuracy=0.95, test_accuracy=0.6, finished=True),
            trial("runs", "RUNNING", score=0.97, pid=7, node_ip="10.0.0.1"),
        ]
    )
    return found


def test_the_best_that_finished_is_first_whatever_the_test_split_says() -> None:
    rows = board().rows
    assert [row.trial for row in rows[:2]] == ["best", "good"]
    assert {row.trial: row.state for row in rows} == {
        **{"best": "finished", "good": "finished", "early": "ended early", "runs": "running"},
        **{"waits": "waiting", "lost": "failed", "wild": "diverged"},
    }
    assert {row.trial: row.note for row in rows if row.note} == {
        **{"lost": "DataError: it is gone", "wild": "the loss became nan after step 3"}
    }
    assert {row.trial for row in board().open} == {"runs", "waits"}
    assert board().head() == "5 of 7 trials are through, best val_accuracy 0.95; 30.0 minutes, $0.10"


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    assert Board.read(tmp_path) is None
    board().write(tmp_path)
    assert Board.read(tmp_path) == board()
    rows = list(csv.DictReader((tmp_path / CSV).read_text(encoding="utf-8").splitlines()))
    assert (rows[0]["trial"], rows[0]["units"], rows[1]["seconds"]) == ("best", "64", "12.3")
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "wild: the loss became nan" in page
    assert "On the test split: 60.0 %" in page


@pytest.mark.parametrize("usd_per_hour", [None, 0.2])
def test_without_a_trial(tmp_path: Path, usd_per_hour: float | None) -> None:
    empty = Board("val_loss", usd_per_hour=usd_per_hour)
    empty.write(tmp_path)
    assert "0 of 0 trials" in (tmp_path / PAGE).read_text(encoding="utf-8")
