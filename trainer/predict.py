"""Predict. Enters: a model folder and one clip's keypoints. Leaves: the word, its confidence and the top three.

python -m trainer.predict MODEL_DIR FILE.npy [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import DataError, SignspotError
from trainer.keypoints import Keypoints, load_keypoints
from trainer.normalise import normalise

TOP = 3


@dataclass(frozen=True)
class Guess:
    word: str
    confidence: float
    """The model's probability, 0 to 1."""


@dataclass(frozen=True)
class Prediction:
    top: tuple[Guess, ...]
    """The three likeliest words (or all, if there are fewer), likeliest first."""

    @property
    def word(self) -> str:
        return self.top[0].word

    @property
    def confidence(self) -> float:
        return self.top[0].confidence


def predict(model_dir: Path, keypoints: Keypoints) -> Prediction:
    """Recognise one clip, (frames, 2, 21, 3) as `load_keypoints` returns it.

    Raises:
        DataError: the model folder is incomplete, damaged, or of another model than its labels.
    """
    labels, model = _load(model_dir)
    features = normalise(keypoints)[None]
    probabilities = np.asarray(model(features, training=False))[0]
    if probabilities.shape != (len(labels),):
        raise DataError(
            f"the model in {model_dir} knows {probabilities.size} words, its labels.json names {len(labels)}",
            mend="fetch the model again",
        )
    likeliest = np.argsort(-probabilities, kind="stable")[:TOP]
    return Prediction(tuple(Guess(labels[index], float(probabilities[index])) for index in likeliest))


def _load(model_dir: Path) -> tuple[list[str], Any]:
    for name in ("labels.json", "best_model.keras"):
        if not (model_dir / name).is_file():
            raise DataError(f"{model_dir} holds no {name}", mend="name the folder that training or fetch wrote")
    import keras

    try:
        labels = json.loads((model_dir / "labels.json").read_text(encoding="utf-8"))
        return labels, keras.saving.load_model(model_dir / "best_model.keras", compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DataError(f"the model in {model_dir} cannot be read", why=str(error), mend="fetch it again") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.predict", description="Recognise the word of one clip.")
    parser.add_argument("model_dir", type=Path, help="folder with best_model.keras and labels.json")
    parser.add_argument("file", type=Path, help="keypoints of one clip, .npy (frames, 2, 21, 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        prediction = predict(options.model_dir, load_keypoints(options.file))
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.json:
        top = [{"word": guess.word, "confidence": guess.confidence} for guess in prediction.top]
        print(json.dumps(top[0] | {"top": top}, ensure_ascii=False))
    else:
        print(f"{prediction.word} ({prediction.confidence:.1%})")
        for guess in prediction.top:
            print(f"  {guess.confidence:7.2%}  {guess.word}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
