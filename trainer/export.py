"""The results. Enters: a trained loop. Leaves: the model folder, each file whole or not at all.

- `model.keras`: features → calibrated probabilities; loads in Keras's safe mode, without pickle
- `labels.json`: the words, in the order of the probabilities
- `inference.json`: what else an answer needs: the preprocessing's version, the temperature that is in the model
  already, and the confidence below which the answer is *unknown*
- `history.csv`: one row per epoch, of all attempts
- `confusion.png`, `curves.png`, `reliability.png`: the same for the eye
- `report.html`: all of that on one page
- `metrics.json`: what the model reaches, and what it was trained from; written last
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from contract.errors import TrainerError
from contract.report import FILE as REPORT
from contract.report import training_page
from trainer.atomic import replacing
from trainer.dataset import Split
from trainer.evaluate import Answers, Calibration, by_word, calibrate, confusions, measure
from trainer.loop import Loop
from trainer.normalise import VERSION
from trainer.say import say
from trainer.state import EpochRow, State

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

MODEL, LABELS, INFERENCE = "model.keras", "labels.json", "inference.json"
METRICS, HISTORY = "metrics.json", "history.csv"
CONFUSION, CURVES, RELIABILITY = "confusion.png", "curves.png", "reliability.png"


def export(loop: Loop, directory: Path) -> dict[str, Any]:
    """Write the whole folder. Returns what is in `metrics.json`.

    A picture that cannot be drawn is left out, and the log says so.

    Raises:
        TrainerError: the model's answers are no numbers.
    """
    dataset, state = loop.dataset, loop.state
    val, test = (_answers(loop, split) for split in (dataset.val, dataset.test))
    calibration = calibrate(val)
    for note in calibration.notes:
        say(note)
    model = calibrated(loop.learner.model, calibration.temperature)
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / MODEL) as temporary:
        model.save(temporary)
    _write_json(directory / LABELS, dataset.labels)
    _write_json(
        directory / INFERENCE,
        {
            "preprocessing": VERSION,
            "temperature": calibration.temperature,
            "unknown_below": calibration.unknown_below,
        },
    )
    _write_text(directory / HISTORY, _history(state.history))
    _draw(directory, state, val, test, calibration, dataset.labels)
    metrics = {
        **{f"val_{name}": value for name, value in measure(val, calibration).items()},
        **{f"test_{name}": value for name, value in measure(test, calibration).items()},
        "test_words": by_word(test, dataset.labels),
        "test_confusions": confusions(test, dataset.labels),
        "temperature": calibration.temperature,
        "unknown_below": calibration.unknown_below,
        "notes": calibration.notes,
        "steps": state.step,
        "train_epochs": state.train_epoch,
        "best_train_epoch": state.best.train_epoch if state.best else None,
        "train_sequences": len(dataset.train),
        "parameters": int(model.count_params()),
        "dataset_sha256": dataset.fingerprint,
        "preprocessing": VERSION,
        "settings": loop.config.model_dump(mode="json", exclude={"command"}),
    }
    _report(directory, metrics)
    _write_json(directory / METRICS, metrics)
    return metrics


def calibrated(model: keras.Model, temperature: float) -> keras.Model:
    """The same weights and answers; the layer `logits` is divided by the temperature before the softmax."""
    import keras

    logits = model.get_layer("logits").output
    scaled = keras.layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(logits)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(scaled)
    return keras.Model(model.input, probabilities, name="signspot")


def _answers(loop: Loop, split: Split) -> Answers:
    logits = loop.logits(split)
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        raise TrainerError(
            f"the model's answers to {broken.size} of {len(split)} sequences are no numbers",
            mend=f"start a new run with a lower trainer.learning_rate than {loop.config.learning_rate:g}",
        )
    return Answers(logits, split.targets)


def _draw(
    directory: Path, state: State, val: Answers, test: Answers, chosen: Calibration, labels: tuple[str, ...]
) -> None:
    split, answers = ("test", test) if len(test) else ("val", val)
    pictures: dict[str, Callable[[ModuleType], Figure]] = {
        CURVES: lambda plots: plots.curves(state.history, state.best)
    }
    if len(answers):
        pictures[CONFUSION] = lambda plots: plots.confusion(answers, labels, split)
        pictures[RELIABILITY] = lambda plots: plots.calibration(answers, chosen, split)
    for name, picture in pictures.items():
        try:
            from trainer import plots

            with replacing(directory / name) as temporary:
                picture(plots).savefig(temporary, format="png")
        except Exception as error:  # whatever it is: a picture is not worth a trained model
            say(f"{name} could not be drawn ({type(error).__name__}: {error}); the model is not affected")


def _report(directory: Path, metrics: dict[str, Any]) -> None:
    try:
        _write_text(directory / REPORT, training_page(directory, metrics))
    except Exception as error:  # as with a picture
        say(f"{REPORT} could not be written ({type(error).__name__}: {error}); the model is not affected")


def _history(rows: list[EpochRow]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(EpochRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return text.getvalue()


def _write_json(path: Path, content: Any) -> None:
    _write_text(path, json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
