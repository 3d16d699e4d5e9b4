"""One trial of a sweep: a training with settings of its own, in a process of Ray's. Enters: what is tried. Leaves: a
folder with checkpoints and model, as any training of ours has, and what Tune is told: after each epoch how good it is.

A trial whose process or machine is lost is started again, on any machine that has that folder, and goes on from its
newest checkpoint there; our resume is exact, so what leaves is what an undisturbed training leaves. Tune keeps no
checkpoints: its record of which is the newest may be older than a loss of the head, and name one that is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import TrainerError
from trainer.settings import Directories, Settings
from trainer.state import State
from trainer.stop import StopRequest

SCORE = "score"
"""What Tune compares: the metric of the weights that are kept, larger is better."""
WORST = -1e9
"""Of a trial that has no epoch yet, or diverged; a number, for those who search calculate with it."""
CHECKPOINTS, MODEL = "checkpoints", "model"
TOLD_OF_MODEL = ("test_accuracy", "test_loss", "parameters")
"""Of `metrics.json`, what is shown beside a trial and decides on nothing."""


@dataclass(frozen=True)
class Base:
    """What all trials of a sweep have in common."""

    dataset: str
    """Its folder, absolute."""
    settings: Mapping[str, Any]
    """`SM_HPS`, of which a trial changes some."""
    metric: str
    folder: str = ""
    """Holds a folder for each trial, by its id; absolute."""


def run_trial(config: Mapping[str, Any], base: Base) -> None:
    """Train with `base.settings` and `config` over them; called by Tune."""
    from ray import tune

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # trials may share a GPU
    os.environ["KERAS_BACKEND"] = "tensorflow"
    settings = Settings.from_json(json.dumps({**base.settings, **config}))
    folder = Path(base.folder) / tune.get_context().get_trial_id()
    places = Directories(Path(base.dataset), folder / CHECKPOINTS, folder / MODEL, folder / "output")
    reporter = Reporter(tune.report, base.metric)
    try:
        _train(places, settings, reporter)
    except TrainerError as error:  # such settings cannot be trained with, anywhere
        tune.report({**reporter.last, SCORE: WORST, "failure": error.what})
        return
    found = json.loads((places.model / "metrics.json").read_text(encoding="utf-8"))
    tune.report({**reporter.last, **{key: found.get(key) for key in TOLD_OF_MODEL}, "finished": True})


def _train(places: Directories, settings: Settings, reporter: Reporter) -> None:
    import keras

    from trainer.train import train

    keras.utils.clear_session()  # the process may have trained before
    train(places, settings, StopRequest(), reporter.told)


class Reporter:
    """Tells Tune of each epoch."""

    def __init__(self, report: Callable[[dict[str, Any]], None], metric: str) -> None:
        self._report, self._metric = report, metric
        self._epoch = -1
        self._resumed = 0
        self.last: dict[str, Any] = {SCORE: WORST, "train_epoch": 0, "step": 0}

    def told(self, state: State) -> None:
        if self._epoch < 0:
            self._epoch, self._resumed = state.train_epoch, state.step
        if state.train_epoch != self._epoch:
            self._epoch = state.train_epoch
            self.last = self._values(state)
            self._report(dict(self.last))

    def _values(self, state: State) -> dict[str, Any]:
        values = {"train_epoch": state.train_epoch, "step": state.step, "resumed_step": self._resumed, SCORE: WORST}
        if state.best is None:
            return values
        value = state.best.val_accuracy if self._metric == "val_accuracy" else state.best.val_loss
        if value is None:
            raise TrainerError("the dataset has no val split, by which trials are compared")
        sign = 1 if self._metric == "val_accuracy" else -1
        found = {"val_loss": state.best.val_loss, "val_accuracy": state.best.val_accuracy}
        return {**values, **found, SCORE: sign * value}
