"""Does a sweep of 20 trials find better settings than the defaults, for a signer never seen?

    python -m benchmarks.ray_sweep ../shared/data/signs --test-signer s1 --out results/sweep-signs

All clips of one signer are the test; val is drawn from the others, as in `ablation.py`, and decides alone. The first
trial has the defaults. Enters: a dataset with a column signer. Leaves: the sweep's leaderboard, and the table of
docs/model.md. The same command goes on with a sweep that was interrupted.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.ablation import held_out, make_folder
from contract.config import TrainerConfig
from trainer.sweep_board import Board, Row

SWEEP = """\
search = "optuna"
early_stopping = "asha"
metric = "val_loss"  # the accuracy on signers that are known is near 1 for most settings, and tells nothing

[budget]
trials = {trials}

[asha]
grace_epochs = 15

[space]
units = [64, 128, 192]
layers = [1, 2]
convolutions = [0, 1, 2, 3]
learning_rate = {{ low = 0.0005, high = 0.006, log = true }}
dropout = {{ low = 0.1, high = 0.6 }}
weight_decay = {{ low = 0.001, high = 0.1, log = true }}
nonsense = {{ low = 0.0, high = 0.15 }}
"""


def table(board: Board) -> str:
    """Markdown: the defaults, then the trials that finished, best on val first."""
    defaults = TrainerConfig()
    default = next(
        row for row in board.rows if all(getattr(defaults, name) == value for name, value in row.settings.items())
    )

    def line(what: str, row: Row) -> str:
        settings = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in row.settings.items()
            if value != getattr(defaults, name)
        )
        cells = [what, settings or "the defaults", row.val_loss, row.val_accuracy, row.test_accuracy, row.train_epoch]
        return f"| {' | '.join(f'{cell:.3f}' if isinstance(cell, float) else str(cell) for cell in cells)} |"

    ranks = {row.trial: str(number) for number, row in enumerate(board.finished, 1)}
    rows = [line(f"defaults (place {ranks.get(default.trial, 'none')})", default)]
    rows += [line(ranks[row.trial], row) for row in board.finished[:5] if row.trial != default.trial]
    early = sum(row.state == "ended early" for row in board.rows)
    head = "| place | settings | val loss | val right | test right | epochs |\n| --- | --- | --- | --- | --- | --- |"
    end = f"{len(board.rows)} trials, {early} of them ended early; {board.seconds / 60:.0f} minutes."
    return "\n".join([head, *rows, "", end])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test-signer", default="s1")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=TrainerConfig().epochs)
    parser.add_argument("--out", type=Path, default=Path("results/sweep-signs"))
    options = parser.parse_args()
    folder = options.out / "data"
    if not folder.exists():
        options.out.mkdir(parents=True, exist_ok=True)
        with (options.data / "dataset.csv").open(newline="", encoding="utf-8") as file:
            make_folder(folder, options.data, held_out(list(csv.DictReader(file)), options.test_signer))
    plan = options.out / "sweep.toml"
    plan.write_text(SWEEP.format(trials=options.trials), encoding="utf-8")
    command = [sys.executable, "-m", "trainer.sweep", str(plan), str(folder), "--out", str(options.out / "sweep")]
    variables = {**os.environ, "SM_HPS": f'{{"epochs": {options.epochs}}}'}
    code = subprocess.run(command, env=variables, check=False).returncode
    board = Board.read(options.out / "sweep")
    if code == 0 and board is not None:
        print(table(board))
    return code


if __name__ == "__main__":
    sys.exit(main())
