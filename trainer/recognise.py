"""A trained model that answers. Enters: a model folder. Leaves: for keypoints, the probability of each word.

    model.keras      features → calibrated probabilities
    labels.json      the words, in the order of the probabilities
    inference.json   the preprocessing it was trained with, and the confidence below which it does not know

A folder that does not fit is refused. No pickled code runs: Keras loads in its safe mode. TensorFlow, which takes
seconds, is imported by `ModelFolder.load` alone; everything that can be told without it is told before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from trainer.batches import pad
from trainer.export import INFERENCE, LABELS, MODEL
from trainer.imports import quick_imports
from trainer.keypoints import Keypoints
from trainer.nonsense import NOTHING
from trainer.normalise import CHANNELS, VERSION, normalise

TOP = 3

Verdict = Literal["word", "unknown", "no sign"]
Probabilities = NDArray[np.float32]
"""(clips, words)"""


@dataclass(frozen=True)
class Guess:
    word: str
    confidence: float
    """The model's calibrated probability, 0 to 1."""


@dataclass(frozen=True)
class Answer:
    verdict: Verdict
    top: tuple[Guess, ...]
    """Likeliest first; empty where no hand was seen."""

    @property
    def word(self) -> str | None:
        """None where the model does not know, or there is no sign."""
        return self.top[0].word if self.verdict == "word" else None

    @property
    def confidence(self) -> float | None:
        """Of the likeliest word, whatever the verdict; None where no hand was seen."""
        return self.top[0].confidence if self.top else None

    def __str__(self) -> str:
        if not self.top:
            return "no sign (no hand in any frame)"
        word, confidence = self.top[0].word, f"{self.top[0].confidence:.1%}"
        match self.verdict:
            case "word":
                return f"{word} ({confidence})"
            case "unknown":
                return f"unknown (likeliest: {word} {confidence})"
            case "no sign":
                return f"no sign ({confidence})"


@dataclass(frozen=True)
class Recogniser:
    labels: tuple[str, ...]
    unknown_below: float
    """An answer with less confidence is "unknown"."""
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """Features (clips, frames, CHANNELS), zeros on the right where a clip is shorter → probabilities (clips, words)."""

    def probabilities(self, clips: Sequence[Keypoints]) -> Probabilities:
        """Of each clip, at least one; (frames, 2, 21, 3) each, of any length from 1 on."""
        return self.network(pad([normalise(clip) for clip in clips]))

    def answer(self, clip: Keypoints, top: int = TOP) -> Answer:
        """The `top` likeliest words of one clip, and whether the likeliest is to be believed."""
        if not clip.any():
            return Answer("no sign", ())
        probabilities = self.probabilities([clip])[0]
        likeliest = np.argsort(-probabilities, kind="stable")[:top]
        guesses = tuple(Guess(self.labels[index], float(probabilities[index])) for index in likeliest)
        if guesses[0].confidence < self.unknown_below:
            return Answer("unknown", guesses)
        return Answer("no sign" if guesses[0].word == NOTHING else "word", guesses)


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose small files have been read and fit this version."""

    path: Path
    labels: tuple[str, ...]
    unknown_below: float

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """
        Raises:
            DataError: a file is missing or damaged, or the model was trained with another preprocessing.
        """
        missing = [name for name in (MODEL, LABELS, INFERENCE) if not (path / name).is_file()]
        if not path.is_dir():
            raise DataError(f"{path} is no folder", mend="name the model folder that training or fetch wrote")
        if missing == [INFERENCE] or (missing and (path / "best_model.keras").is_file()):
            raise DataError(
                f"{path} holds no {INFERENCE}",
                why="an older version wrote it, and its confidences would mean nothing",
                mend="train again, or use the version that trained it",
            )
        if missing:
            raise DataError(
                f"{path} holds no {', no '.join(missing)}", mend="name the model folder that training or fetch wrote"
            )
        return cls(path, _labels(path / LABELS), _unknown_below(path / INFERENCE))

    def load_model(self) -> Any:
        """The keras.Model, features → probabilities.

        Raises:
            DataError: it is damaged, holds code, or fits neither this preprocessing nor its labels.
        """
        with quick_imports():
            import keras

        file = self.path / MODEL
        try:
            model: Any = keras.saving.load_model(file, compile=False, safe_mode=True)
        except Exception as error:  # a damaged archive fails in as many ways as there are layers
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(f"{file} cannot be read", why=why, mend="fetch it again, or train again") from None
        inputs, outputs = (
            [tuple(tensor.shape) for tensor in model.inputs],
            [tuple(each.shape) for each in model.outputs],
        )
        if inputs != [(None, None, CHANNELS)] or [len(each) for each in outputs] != [2]:
            raise DataError(
                f"{file} is not a model of words",
                why=f"{inputs} → {outputs}, not [(None, None, {CHANNELS})] → [(None, words)]",
                mend="name the model folder that training or fetch wrote",
            )
        words = outputs[0][1]
        if words != len(self.labels):
            raise DataError(
                f"{file} knows {words} words, its {LABELS} names {len(self.labels)}", mend="fetch the model again"
            )
        return model

    def load(self) -> Recogniser:
        """The model, ready to answer at once. Raises DataError as `load_model` does, and where it gives no numbers."""
        model = self.load_model()
        import tensorflow as tf

        # One trace for every length and number of clips, and nothing in it for autograph to translate.
        signature = [tf.TensorSpec((None, None, CHANNELS), tf.float32)]
        call = lambda features: model(features, training=False)  # noqa: E731
        traced = tf.function(call, input_signature=signature, autograph=False)

        def network(features: NDArray[np.float32]) -> Probabilities:
            probabilities: Probabilities = traced(features).numpy()
            return probabilities

        total = float(network(np.ones((1, 1, CHANNELS), np.float32)).sum())
        if not np.isclose(total, 1, atol=1e-3):
            raise DataError(
                f"{self.path / MODEL} gives no probabilities",
                why=f"they add up to {total:g}",
                mend="fetch it again, or train again",
            )
        return Recogniser(self.labels, self.unknown_below, network)


def _labels(file: Path) -> tuple[str, ...]:
    labels = _json(file)
    words = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)
    if not words or not labels or len(set(labels)) != len(labels):
        raise DataError(f"{file} is not a list of different words", mend="fetch the model again")
    return tuple(labels)


def _unknown_below(file: Path) -> float:
    settings = _json(file)
    trained_with = settings.get("preprocessing") if isinstance(settings, dict) else None
    if not isinstance(trained_with, int):
        raise DataError(f"{file} does not name its preprocessing", mend="fetch the model again")
    if trained_with != VERSION:
        raise DataError(
            f"{file.parent} was trained with preprocessing {trained_with}, this is {VERSION}",
            mend="train again or use the version that trained it",
        )
    threshold = settings.get("unknown_below")
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise DataError(f"{file}: unknown_below is {threshold!r}, not 0 to 1", mend="fetch the model again")
    return float(threshold)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read", why=str(error), mend="fetch the model again") from None
