"""`signspot train`: the trainer on this laptop. Enters: settings, a dataset, a folder. Leaves: what a box would."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cli.project import Project
from cli.workload import run_trainer
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.errors import DataError
from contract.status import Progress

Outcome = Literal["done", "saved", "learnt", "not learnt"]
OUTCOMES: dict[tuple[int, bool], Outcome] = {
    (EXIT_DONE, False): "done",
    (EXIT_SAVED, False): "saved",
    (EXIT_DONE, True): "learnt",
    (1, True): "not learnt",
}
"""By the trainer's exit code, and whether it was --overfit; others are failures."""


class Trained(BaseModel):
    """Where a training stands that has not failed; of one that has, standard error says why."""

    model_config = ConfigDict(extra="forbid")
    outcome: Outcome
    """saved: stopped, and the same command goes on; the last two are of --overfit, which keeps nothing."""
    model: str | None
    """Folder of the model; None unless done."""
    checkpoints: str | None
    """Folder of the checkpoints; None with --overfit."""
    step: int | None
    """Optimiser steps done since training began; None while there is none, and with --overfit."""
    train_epoch: int | None
    """Likewise."""
    val_accuracy: float | None
    """0 to 1; None unless done, and without that split."""
    test_accuracy: float | None
    """Likewise."""


def variables(project: Project, dataset: Path, to: Path) -> dict[str, str]:
    """The training contract, as the agent gives it to the trainer on a box."""
    config = project.config
    hyperparameters = config.trainer.model_dump(mode="json", exclude={"command"})
    hyperparameters |= {
        "table": config.data.table,
        "checkpoint_seconds": config.sync.checkpoint_seconds,
        "checkpoint_steps": config.sync.checkpoint_steps,
    }
    return {
        "SM_CHANNEL_TRAINING": str(dataset.resolve()),
        "SM_CHECKPOINT_DIR": str(to.resolve() / "checkpoints"),
        "SM_MODEL_DIR": str(to.resolve() / "model"),
        "SM_OUTPUT_DIR": str(to.resolve() / "output"),
        "SM_HPS": json.dumps(hyperparameters),
    }


def trained(to: Path, outcome: Outcome) -> Trained:
    """What the files in the folder `to` say."""
    overfit = outcome in ("learnt", "not learnt")
    metrics: dict[str, Any] = {}
    if outcome == "done":
        metrics = json.loads((to / "model/metrics.json").read_text(encoding="utf-8"))
    progress, file = None, to / "output/progress.json"
    if not overfit and file.exists():
        progress = Progress.model_validate_json(file.read_bytes())
    return Trained(
        outcome=outcome,
        model=str(to / "model") if outcome == "done" else None,
        checkpoints=None if overfit else str(to / "checkpoints"),
        step=progress and progress.step,
        train_epoch=progress and progress.train_epoch,
        val_accuracy=metrics.get("val_accuracy"),
        test_accuracy=metrics.get("test_accuracy"),
    )


def folder_of(project: Project, dataset: Path | None) -> Path:
    """The dataset that is named, else that of the settings.

    Raises:
        DataError: that is in S3.
    """
    folder = dataset or project.data
    if folder is None:
        raise DataError(f"{project.config.data.path} is not on this laptop", mend="bring it here, and name its folder")
    return folder


def train_here(project: Project, dataset: Path | None, to: Path, overfit: bool, as_json: bool = False) -> int:
    """Returns the trainer's exit code; whatever signspot.toml has for `trainer.command`, it is signspot's own.

    `as_json`: prints a `Trained`, unless it has failed; the trainer's log goes to standard error.

    Raises:
        DataError: the settings' dataset is in S3.
    """
    folder = folder_of(project, dataset)
    arguments = ["--overfit"] if overfit else []
    code = run_trainer("trainer.train", *arguments, variables=variables(project, folder, to), aside=as_json)
    if code == EXIT_SAVED and not overfit:
        stream = sys.stderr if as_json else sys.stdout
        print(f"saved in {to / 'checkpoints'}: the same command goes on from there", file=stream, flush=True)
    if as_json and (outcome := OUTCOMES.get((code, overfit))):
        print(trained(to, outcome).model_dump_json(indent=2))
    return code
