"""How good a model is, and how much its confidence means. Enters: logits, and what was right. Leaves: numbers.

- *temperature*: the logits are divided by one number, chosen on val, so that of all answers given with a
  confidence of 80 % about 80 % are right; no answer changes (Guo et al., "On Calibration of Modern Neural
  Networks", 2017);
- *unknown*: an answer is withheld when its confidence is below a threshold, chosen on val so that at most
  `LOST` of the right answers are withheld: confidence tells wrong answers and unknown things from right ones
  (Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", 2017), and
  to keep 95 % of the right ones is where such detectors are compared (Liang et al., ODIN, 2018). An answer that is
  likelier right than wrong is never withheld, however sure val's are (`SURE`; Chow, "On Optimum Recognition Error
  and Reject Tradeoff", 1970): people who are not in val are answered with less confidence.

Shares and confidences are 0 to 1. What is undefined, such as the precision of a word never answered, is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of equal width, as in Guo et al."""
LOST = 0.05
SURE = 0.5
TEMPERATURES = (0.1, 10.0)
TOP = 3
CONFUSIONS_NAMED = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a model says to each sequence of a split, and what was right."""

    logits: NDArray[np.float32]
    """(sequences, words)"""
    targets: NDArray[np.int32]
    """(sequences,)"""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def words(self) -> NDArray[np.intp]:
        """The answers (sequences,)."""
        words: NDArray[np.intp] = self.logits.argmax(axis=1)
        return words

    @property
    def right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.words == self.targets
        return right

    def confidence(self, temperature: float) -> Floats:
        """Probability of each answer (sequences,)."""
        return np.exp(-self._surprise(temperature, self.words))

    def loss(self, temperature: float) -> float:
        """Mean negative logarithm of the right words' probabilities; not a number without sequences."""
        return float(self._surprise(temperature, self.targets).mean()) if len(self) else math.nan

    def confusion(self) -> NDArray[np.intp]:
        """(words, words): how often the word of the row was answered with that of the column."""
        words = self.logits.shape[1]
        return np.bincount(self.targets * words + self.words, minlength=words * words).reshape(words, words)

    def _surprise(self, temperature: float, words: NDArray[Any]) -> Floats:
        scaled = self.logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        chosen = np.take_along_axis(scaled, words[:, None].astype(np.intp), axis=1)[:, 0]
        surprise: Floats = np.log(np.exp(scaled).sum(axis=1)) - chosen
        return surprise


@dataclass(frozen=True)
class Calibration:
    temperature: float = 1.0
    unknown_below: float = 0.0
    """Answers of less confidence are withheld; 0: none is."""
    notes: tuple[str, ...] = ()
    """What could not be chosen, and why."""


@dataclass(frozen=True)
class Reliability:
    """Answers sorted into bins of confidence, empty bins left out."""

    confidence: Floats
    """Mean per bin."""
    accuracy: Floats
    """Share of right answers per bin."""
    answers: NDArray[np.intp]

    @property
    def error(self) -> float:
        """Expected calibration error: how far the two are apart, over all answers."""
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.answers))


def calibrate(val: Answers) -> Calibration:
    """Temperature and threshold. Without val, or one that leaves the choice open, what changes nothing."""
    if not len(val):
        note = "there is no val split: confidences are not calibrated (temperature 1), and no answer is unknown"
        return Calibration(notes=(note,))
    right, notes = val.right, []
    temperature = 1.0
    if right.all() or not right.any():
        which = "right" if right.all() else "wrong"
        notes.append(f"all {len(val)} answers on val are {which}: confidences are not calibrated (temperature 1)")
    else:
        low, high = (math.log(bound) for bound in TEMPERATURES)
        # The loss is convex in 1/temperature, so it has one minimum.
        temperature = round(math.exp(_minimum(lambda power: val.loss(math.exp(power)), low, high)), 4)
    if not right.any():
        notes.append("no answer on val is right: no answer is unknown")
    return Calibration(temperature, threshold(val, temperature), tuple(notes))


def threshold(val: Answers, temperature: float) -> float:
    """The confidence below which an answer is unknown; 0 where no answer is right."""
    confidences = np.sort(val.confidence(temperature)[val.right])
    if not confidences.size:
        return 0.0
    # Down, so that what decided it is not below it once computed in single precision.
    return min(math.floor(float(confidences[int(LOST * confidences.size)]) * 1e4) / 1e4, SURE)


def reliability(answers: Answers, temperature: float) -> Reliability:
    """Of at least one sequence."""
    confidence = answers.confidence(temperature)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    used = counts > 0

    def mean(values: NDArray[Any]) -> Floats:
        return np.bincount(bins, values, BINS)[used] / counts[used]

    return Reliability(mean(confidence), mean(answers.right), counts[used])


def measure(answers: Answers, calibration: Calibration) -> dict[str, Any]:
    """Sequences, loss, accuracies, calibration and the unknown answer of a split.

    The loss is uncalibrated, and without the label smoothing that is in all losses of training, val's included.
    """
    if not len(answers):
        return {"sequences": 0, "loss": None, "accuracy": None}
    temperature = calibration.temperature
    top = np.argsort(-answers.logits, axis=1, kind="stable")[:, :TOP]
    right = answers.right
    answered = answers.confidence(temperature) >= calibration.unknown_below
    return {
        "sequences": len(answers),
        "loss": answers.loss(1),
        "accuracy": float(right.mean()),
        f"top{TOP}_accuracy": float((top == answers.targets[:, None]).any(axis=1).mean()),
        "calibrated_loss": answers.loss(temperature),
        "calibration_error": reliability(answers, temperature).error,
        "calibration_error_before": reliability(answers, 1).error,
        "answered": float(answered.mean()),
        "accuracy_of_answered": _share(right[answered]),
        "right_withheld": _share(~answered[right]),
        "wrong_withheld": _share(~answered[~right]),
    }


def by_word(answers: Answers, labels: tuple[str, ...]) -> dict[str, dict[str, float | None]]:
    """Precision, recall, F1 and sequences of each word that is in the split or among the answers."""
    confusion = answers.confusion()
    hits, said, were = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    return {
        label: {
            "precision": float(hits[word] / said[word]) if said[word] else None,
            "recall": float(hits[word] / were[word]) if were[word] else None,
            "f1": float(2 * hits[word] / (said[word] + were[word])),
            "sequences": int(were[word]),
        }
        for word, label in enumerate(labels)
        if said[word] or were[word]
    }


def confusions(answers: Answers, labels: tuple[str, ...]) -> list[dict[str, str | int]]:
    """The most frequent mistakes: a word, what was answered instead, how often."""
    wrong = answers.confusion()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS_NAMED]
    rows, columns = np.unravel_index(worst, wrong.shape)
    return [
        {"word": labels[row], "answer": labels[column], "times": int(wrong[row, column])}
        for row, column in zip(rows, columns, strict=True)
        if wrong[row, column]
    ]


def _share(yes: NDArray[np.bool_]) -> float | None:
    return float(yes.mean()) if yes.size else None


def _minimum(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-5) -> float:
    """Where a function with one minimum between two bounds has it (golden-section search, Kiefer 1953)."""
    golden = (math.sqrt(5) - 1) / 2
    while high - low > tolerance:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if function(left) < function(right):
            high = right
        else:
            low = left
    return (low + high) / 2
