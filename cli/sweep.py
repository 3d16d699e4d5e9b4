"""`signspot sweep`: many trainings. Enters: settings, `sweep.toml`, a dataset. Leaves: what `trainer.sweep` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cli.project import Project
from cli.train import folder_of, variables
from cli.workload import as_arguments, run_trainer
from contract.box import EXIT_DONE, EXIT_SAVED

LEADERBOARD = "leaderboard.json"


class Trial(BaseModel):
    model_config = ConfigDict(extra="forbid")
    trial: str
    state: Literal["waiting", "running", "finished", "ended early", "diverged", "failed"]
    settings: dict[str, Any]
    """Of [trainer], what the sweep gave it."""
    score: float | None
    """The metric, with the sign turned where less is better; None before its first epoch is done."""
    val_accuracy: float | None
    """0 to 1, of the weights that are kept; so are the two below."""
    val_loss: float | None
    test_accuracy: float | None
    """It decides nothing; None unless finished."""
    train_epoch: int
    step: int
    """Optimiser steps done."""
    seconds: float
    """That it has trained, all attempts together."""
    attempts: int
    resumed_step: int
    """Where its present attempt began."""
    worker: str
    """Machine and process of its present attempt."""
    note: str
    """Why it diverged or failed."""


class Swept(BaseModel):
    """`leaderboard.json`."""

    model_config = ConfigDict(extra="forbid")
    metric: str
    seconds: float
    """That the sweep has run, all attempts together."""
    usd_per_hour: float | None
    usd: float | None
    """`seconds` at that price."""
    trials: list[Trial]
    """Those that finished first, the best first."""


def sweep_here(project: Project, file: Path, dataset: Path | None, out: Path, ray: str, as_json: bool) -> int:
    """Returns the trainer's exit code.

    `as_json`: prints a `Swept`, unless it has failed; what the trainer says goes to standard error.

    Raises:
        DataError: the settings' dataset is in S3.
    """
    folder = folder_of(project, dataset)
    given = {"SM_HPS": variables(project, folder, out)["SM_HPS"]}
    arguments = [*as_arguments(out=str(out), ray=ray), "--", str(file), str(folder)]
    code = run_trainer("trainer.sweep", *arguments, variables=given, aside=as_json)
    if as_json and code in (EXIT_DONE, EXIT_SAVED):
        print(Swept.model_validate_json((out / LEADERBOARD).read_bytes()).model_dump_json(indent=2))
    return code
