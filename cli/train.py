"""`signspot train`: the trainer on this laptop. Enters: settings, a dataset, a folder. Leaves: what a box would."""

from __future__ import annotations

import json
from pathlib import Path

from cli.project import Project
from cli.workload import run_trainer
from contract.box import EXIT_SAVED
from contract.errors import DataError


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


def train_here(project: Project, dataset: Path | None, to: Path, overfit: bool) -> int:
    """Returns the trainer's exit code; whatever signspot.toml has for `trainer.command`, it is signspot's own.

    Raises:
        DataError: the settings' dataset is in S3.
    """
    folder = dataset or project.data
    if folder is None:
        raise DataError(f"{project.config.data.path} is not on this laptop", mend="bring it here, and name its folder")
    code = run_trainer("trainer.train", *(["--overfit"] if overfit else []), variables=variables(project, folder, to))
    if code == EXIT_SAVED and not overfit:
        print(f"saved in {to / 'checkpoints'}: the same command goes on from there", flush=True)
    return code
