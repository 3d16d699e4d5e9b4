"""One trial of a sweep as a command of SageMaker's training contract, on whatever machine of a cluster. Enters: what
is tried. Leaves: what Tune is told: after each epoch how good it is.

Its checkpoints and its model are its own affair: it is told who it is by SIGNSPOT_TRIAL and finds them again wherever
it is started, so the machines need to share no disk, and Tune holds none of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from contract.box import EXIT_SAVED
from contract.errors import TrainerError
from contract.status import Progress
from trainer.sweep_trial import SCORE, TOLD_OF_MODEL, WORST, Base

POLL_SECONDS = 1.0
REASON = 2000
"""Characters of why a trial failed."""
SAVE_SECONDS = 120
"""What a trial that is ended gets to bring its work to where it is found again."""


def run_command(config: Mapping[str, Any], base: Base, command: Sequence[str]) -> None:
    """Carry out one trial; called by Tune.

    Raises:
        TrainerError: it was saved before it was through; Tune begins it again, here or elsewhere.
    """
    from ray import tune

    with TemporaryDirectory(prefix="trial-") as name:
        folder = Path(name)
        output, model = folder / "output", folder / "model"
        output.mkdir()
        environment = {
            **os.environ,
            "SIGNSPOT_TRIAL": tune.get_context().get_trial_id(),
            "SM_CHANNEL_TRAINING": base.dataset,
            "SM_CHECKPOINT_DIR": str(folder / "checkpoints"),
            "SM_HPS": json.dumps({**base.settings, **config}),
            "SM_MODEL_DIR": str(model),
            "SM_OUTPUT_DIR": str(output),
        }
        words = [sys.executable if word == "python" else word for word in command]
        told = Told(base.metric)
        process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                if told.look(output / "progress.json"):
                    tune.report(dict(told.values))
        finally:  # Tune ends a trial by an exception in report
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(SAVE_SECONDS)
            process.kill()
        told.look(output / "progress.json")
        if process.returncode == EXIT_SAVED:
            raise TrainerError("this trial was saved before it was through", mend="nothing: it goes on")
        if process.returncode:
            reason = _read(output / "failure")[:REASON] or f"exit {process.returncode}"
            tune.report({**told.values, SCORE: WORST, "failure": reason})
            return
        tune.report(told.final(json.loads(_read(model / "metrics.json") or "{}")))


class Told:
    """What was said of a trial so far."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._best: dict[str, float] = {}
        self.values: dict[str, Any] = {SCORE: WORST, "train_epoch": 0, "step": 0, "resumed_step": 0}

    def look(self, progress: Path) -> bool:
        """Whether an epoch has ended since the last look."""
        try:
            found = Progress.model_validate_json(progress.read_bytes())
        except (OSError, ValidationError):
            return False
        epoch, step, metrics = found.train_epoch, found.step, found.metrics
        if not self.values["step"]:
            self.values["resumed_step"] = step
        another: bool = epoch != self.values["train_epoch"]
        if metrics.get("val_loss", float("inf")) < self._best.get("val_loss", float("inf")):
            self._best = {name: metrics[name] for name in ("val_loss", "val_accuracy") if name in metrics}
        self.values |= {"train_epoch": epoch, "step": step, **self._score(self._best)}
        return another

    def final(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """With what the model itself reaches."""
        more = {name: metrics.get(name) for name in TOLD_OF_MODEL}
        return {**self.values, **self._score(metrics), **more, "finished": True}

    def _score(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        value = metrics.get(self._metric)
        if value is None:
            return {}
        found = {name: metrics[name] for name in ("val_loss", "val_accuracy") if name in metrics}
        return {**found, SCORE: (1 if self._metric == "val_accuracy" else -1) * value}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
