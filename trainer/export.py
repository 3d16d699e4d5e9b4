"""The results. Enters: a trained loop. Leaves: the files of the model folder, each whole or not at all.

- `best_model.keras`: features → probabilities; loads in Keras's safe mode, without pickle
- `labels.json`: the words, in the order of the probabilities
- `metrics.json`: what the model reaches, and what it was trained from
- `history.csv`: one row per epoch, of all attempts
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.atomic import replacing
from trainer.dataset import Split
from trainer.loop import Loop
from trainer.normalise import VERSION
from trainer.state import EpochRow

MODEL, LABELS, METRICS, HISTORY = "best_model.keras", "labels.json", "metrics.json", "history.csv"


def export(loop: Loop, directory: Path) -> dict[str, Any]:
    """Write all four files into `directory`. Returns what is in `metrics.json`."""
    metrics = measure(loop)
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / MODEL) as temporary:
        loop.learner.model.save(temporary)
    _write_text(directory / LABELS, json.dumps(loop.dataset.labels, ensure_ascii=False, indent=2) + "\n")
    _write_text(directory / HISTORY, _history(loop.state.history))
    _write_text(directory / METRICS, json.dumps(metrics, ensure_ascii=False, indent=2) + "\n")
    return metrics


def measure(loop: Loop) -> dict[str, Any]:
    """Losses and accuracies of the best weights; None for a split that the dataset does not have."""
    dataset, best = loop.dataset, loop.state.best
    metrics: dict[str, Any] = {}
    right: dict[str, NDArray[np.bool_]] = {}
    for name, split in (("val", dataset.val), ("test", dataset.test)):
        loss, answers = loop.score(split) if len(split) else (None, split.targets)
        right[name] = answers == split.targets
        metrics[f"{name}_sequences"] = len(split)
        metrics[f"{name}_loss"] = loss
        metrics[f"{name}_accuracy"] = float(right[name].mean()) if len(split) else None
    metrics["test_accuracy_by_word"] = _by_word(right["test"], dataset.test, dataset.labels)
    return metrics | {
        "steps": loop.state.step,
        "train_epochs": loop.state.train_epoch,
        "best_train_epoch": best.train_epoch if best else None,
        "train_sequences": len(dataset.train),
        "parameters": int(loop.learner.model.count_params()),
        "dataset_sha256": dataset.fingerprint,
        "preprocessing": VERSION,
        "settings": loop.config.model_dump(mode="json", exclude={"command"}),
    }


def _by_word(right: NDArray[np.bool_], split: Split, labels: tuple[str, ...]) -> dict[str, float]:
    """The share of each word's sequences that was recognised; words without any are left out."""
    return {
        label: float(right[split.targets == index].mean())
        for index, label in enumerate(labels)
        if (split.targets == index).any()
    }


def _history(rows: list[EpochRow]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(EpochRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
