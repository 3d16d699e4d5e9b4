"""Model folders and recognisers that nobody trained."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.keypoints import Keypoints
from trainer.normalise import CHANNELS, VERSION
from trainer.recognise import Probabilities, Recogniser

WORDS = ("tea", "milk", "señal 手")


def write_model(folder: Path, model: Any = None, words: tuple[str, ...] = WORDS, **inference: object) -> Path:
    """A folder that fits, but for what is given; the mean over time, one dense layer."""
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    if model is None:
        keras.utils.set_random_seed(1)
        features = keras.Input((None, CHANNELS))
        pooled = keras.layers.GlobalAveragePooling1D()(features)
        model = keras.Model(features, keras.layers.Dense(len(words), activation="softmax")(pooled))
    with warnings.catch_warnings():
        # Keras 3.15 saves weights through NumPy's older conversion protocol.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        model.save(folder / "model.keras")
    (folder / "labels.json").write_text(json.dumps(words), encoding="utf-8")
    settings = {"preprocessing": VERSION, "temperature": 1.0, "unknown_below": 0.0} | inference
    (folder / "inference.json").write_text(json.dumps(settings))
    return folder


def a_hand(frames: int, seed: int = 0) -> Keypoints:
    """(frames, 2, 21, 3): a right hand of random shape that wanders, no left one."""
    random = np.random.default_rng(seed)
    keypoints = np.zeros((frames, 2, 21, 3), np.float32)
    keypoints[:, 1] = random.uniform(0.4, 0.6, (21, 3)) + random.normal(0, 0.01, (frames, 1, 3)).cumsum(axis=0)
    return keypoints


def sure_of(likely: dict[int, float], unknown_below: float = 0.5, labels: tuple[str, ...] = WORDS) -> Recogniser:
    """Gives these probabilities to whatever it is asked."""
    row = np.array([likely.get(index, 0.0) for index in range(len(labels))], np.float32)

    def network(features: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.repeat(row[None], len(features), axis=0)

    return Recogniser(labels, unknown_below, network)


def hand_of(word: int, frames: int = 1) -> Keypoints:
    """(frames, 2, 21, 3): a right hand that `Reader` reads."""
    keypoints = np.repeat(a_hand(1), frames, axis=0)
    keypoints[:, 1, 1] = keypoints[:, 1, 0] + (0.1 * (word + 1), 0, 0)
    return keypoints


class Reader(Recogniser):
    """Of the frames with a hand, the share that `hand_of` made of each word; of others it knows nothing."""

    def __init__(self, unknown_below: float = 0.5, labels: tuple[str, ...] = WORDS) -> None:
        super().__init__(labels, unknown_below, lambda features: features)

    def probabilities(self, clips: Sequence[Keypoints]) -> Probabilities:
        found = np.zeros((len(clips), len(self.labels)), np.float32)
        for row, clip in zip(found, clips, strict=True):
            hands = clip[clip.any(axis=(1, 2, 3)), 1]
            words = np.round((hands[:, 1, 0] - hands[:, 0, 0]) / 0.1).astype(int) - 1
            row[:] = [(words == index).mean() for index in range(len(row))]
        return found
