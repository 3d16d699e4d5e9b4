"""The training half of a run's report, which the box and the laptop both write. Enters: the folder of a model.
Leaves: sections of a page. Whatever is not there, or not as our trainer writes it, is left out, and that is said.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.page import Band, Line, Mark, Section, charts, code, line_chart, page, paragraph, picture, share, table

FILE = "report.html"
METRICS, HISTORY, CONFUSION, RELIABILITY = "metrics.json", "history.csv", "confusion.png", "reliability.png"
PARTS = (METRICS, HISTORY, CONFUSION, RELIABILITY)
"""Of a model's folder, what a report is made of."""
LARGEST_PICTURE = 700_000
"""Bytes; two of them in base64 are 1.9 MB, and the page stays below 2 MB."""
OUTCOME = {
    "sequences": "sequences",
    "accuracy": "right",
    "top3_accuracy": "right among the likeliest three",
    "answered": "answered (not unknown)",
    "accuracy_of_answered": "right, of the answered",
    "calibration_error": "calibration error",
    "loss": "loss",
}


@dataclass
class Training:
    """What a model's folder tells; empty parts were not there."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.metrics or self.history or self.pictures)


def read_training(folder: Path, metrics: Mapping[str, Any] | None = None) -> Training:
    """`metrics`: what `metrics.json` is going to hold, where it is not written yet."""
    found = Training()
    for name in (CONFUSION, RELIABILITY):
        path = folder / name
        try:
            size = path.stat().st_size
            if size <= LARGEST_PICTURE:
                found.pictures[name] = path.read_bytes()
            else:
                found.notes.append(f"{name} is left out: {size / 1e6:.1f} MB; it is in the model's folder")
        except OSError:
            found.notes.append(f"there is no {name}")
    try:
        lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
        found.history = [_numbers(row) for row in csv.DictReader(lines)]
    except (OSError, ValueError, csv.Error) as error:
        found.notes.append(f"there is no {HISTORY} to draw curves from ({type(error).__name__})")
    if metrics is not None:
        found.metrics = metrics
        return found
    try:
        read = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        found.metrics = read if isinstance(read, dict) else {}
    except (OSError, ValueError) as error:
        found.notes.append(f"there is no {METRICS} to take figures from ({type(error).__name__})")
    return found


def training_page(folder: Path, metrics: Mapping[str, Any]) -> str:
    """The page of a training alone, as the trainer leaves it beside the model."""
    about = "Training alone. Attempts, interruptions and receipt: ../report.html, or signspot report RUN"
    return page("signspot: a training", about, training_sections(read_training(folder, metrics)))


def training_sections(found: Training, attempts: Sequence[Band] = (), marks: Sequence[Mark] = ()) -> list[Section]:
    """`attempts` and `marks` by optimiser step: who trained from where to where, and what happened."""
    return [
        Section("Outcome", _outcome(found)),
        Section("Learning curves", _curves(found, attempts, marks)),
        Section("Words", _words(found)),
        Section("Confusion", _confusion(found)),
        Section("Configuration", _configuration(found)),
        Section("How to repeat it", _repeat(found)),
    ]


def _outcome(found: Training) -> str:
    metrics = found.metrics
    html = "".join(paragraph(note, dim=True) for note in (*found.notes, *_texts(metrics.get("notes"))))
    rows = [
        (shown, *(_figure(name, metrics.get(f"{split}_{name}")) for split in ("val", "test")))
        for name, shown in OUTCOME.items()
        if any(metrics.get(f"{split}_{name}") is not None for split in ("val", "test"))
    ]
    if rows:
        html = table(("", "val", "test"), rows) + html
    besides = {
        name: value
        for name, value in metrics.items()
        if isinstance(value, int | float) and not name.startswith(("val_", "test_"))
    }
    return html + (table(("", ""), sorted(besides.items())) if besides else "")


def _figure(name: str, value: Any) -> Any:
    return value if name in ("sequences", "loss") else share(value)


def _curves(found: Training, attempts: Sequence[Band], marks: Sequence[Mark]) -> str:
    def points(name: str, over: str) -> list[tuple[float, float]]:
        return [(row[over], row[name]) for row in found.history if over in row and name in row]

    over = "step" if any("step" in row for row in found.history) else "train_epoch"
    drawn = [
        line_chart(
            title,
            over.removeprefix("train_"),
            [
                Line("train, while learning", points(name, over), "b", dashed=True),
                Line("val", points(f"val_{name}", over), "a"),
            ],
            percent=name == "accuracy",
            bands=attempts,
            marks=marks,
        )
        for name, title in (("loss", "Loss"), ("accuracy", "Right answers"))
    ]
    if not any(drawn):
        return paragraph("No epoch was recorded.", dim=True)
    best = found.metrics.get("best_train_epoch")
    kept = f"The weights kept are those of epoch {best} of {len(found.history)}." if best else ""
    said = "Shaded and numbered: the attempts; dotted: where one was taken away." if attempts else ""
    return charts(*filter(None, drawn)) + paragraph(f"{kept} {said}".strip(), dim=True)


def _words(found: Training) -> str:
    words = found.metrics.get("test_words")
    if not isinstance(words, dict) or not words:
        return paragraph("There is no test split, or no word in it: nothing is known of single words.", dim=True)
    rows = [
        (word, one.get("sequences"), share(one.get("precision")), share(one.get("recall")), share(one.get("f1")))
        for word, one in sorted(words.items(), key=lambda item: _f1(item[1]))
        if isinstance(one, dict)
    ]
    said = "On the test split, the worst first. Precision: of its answers, those that were right; recall: of its "
    return table(("word", "sequences", "precision", "recall", "F1"), rows, tall=True) + paragraph(
        f"{said}sequences, those that were recognised.", dim=True
    )


def _f1(one: Any) -> float:
    value = one.get("f1") if isinstance(one, dict) else None
    return value if isinstance(value, int | float) else math.inf


def _confusion(found: Training) -> str:
    captions = {CONFUSION: "confusion matrix", RELIABILITY: "reliability of the confidence"}
    html = charts(*(picture(found.pictures[name], text) for name, text in captions.items() if name in found.pictures))
    mistakes = found.metrics.get("test_confusions")
    rows = [
        (one.get("word"), one.get("answer"), one.get("times"))
        for one in (mistakes if isinstance(mistakes, list) else ())
        if isinstance(one, dict)
    ]
    if rows:
        return html + paragraph("The most frequent mistakes:") + table(("word", "answered", "times"), rows, tall=True)
    return html + paragraph("No mistake on the test split is named.", dim=True)


def _configuration(found: Training) -> str:
    settings = found.metrics.get("settings")
    if not isinstance(settings, dict) or not settings:
        return paragraph("The trainer did not say what it was set to.", dim=True)
    return table(("setting of [trainer]", ""), [(name, _toml(value)) for name, value in settings.items()])


def _repeat(found: Training) -> str:
    settings, fingerprint = found.metrics.get("settings"), found.metrics.get("dataset_sha256")
    html = ""
    if isinstance(settings, dict) and settings:
        lines = "\n".join(f"{name} = {_toml(value)}" for name, value in settings.items())
        html = paragraph("In signspot.toml:") + code(f"[trainer]\n{lines}")
    html += paragraph("Then, on this laptop or in an account:")
    html += code("signspot train DATASET --out results/again\nsignspot deploy -c run=again -c data.path=DATASET")
    if fingerprint:
        html += paragraph(f"The dataset is the same where metrics.json then says dataset_sha256 {fingerprint}.")
    return html


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The cells that are numbers."""
    found = {}
    for name, text in row.items():
        try:
            number = float(text)
        except (TypeError, ValueError):
            continue
        if name and math.isfinite(number):
            found[name] = number
    return found


def _texts(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list | tuple) else []
