"""LiteRT. Enters: a model folder. Leaves: one .tflite file that gives the same answers, on a phone for example.

    python -m trainer.lite MODEL_DIR [--out FILE.tflite]

- Input: the features of one clip, (1, frames, CHANNELS) as `trainer.normalise` makes them, any number of
  frames: call `resize_tensor_input` before each clip of another length.
- Output: the calibrated probabilities (1, words). Only LiteRT's own operations, so any of its interpreters runs it.
- `labels.json` and `inference.json` are inside: the file is a zip archive, too, as LiteRT's own metadata have it
  (ai.google.dev/edge/litert, "Adding metadata": associated files).

Before it is written, it is compared with the model on clips of several lengths.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError, SignspotError, TrainerError
from trainer.atomic import replacing
from trainer.complaints import Complaints
from trainer.export import INFERENCE, LABELS
from trainer.keypoints import AXES, HANDS, LANDMARKS
from trainer.normalise import CHANNELS, Features, normalise
from trainer.recognise import ModelFolder

if TYPE_CHECKING:
    import keras

NAME = "model.tflite"
LENGTHS = (1, 7, 30, 64, 150)
"""Frames of the clips on which it is compared."""
TOLERANCE = 1e-3
"""By which a probability may differ: rounding, in single precision, of some hundred steps."""


class Interpreter:
    """LiteRT's, for one file: features (frames, CHANNELS) → probabilities (words,)."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        with warnings.catch_warnings():
            # It says that it will move to a package of its own, which cannot be had beside this TensorFlow's.
            warnings.filterwarnings("ignore", "(?s).*tf.lite.Interpreter is deprecated", UserWarning)
            self._interpreter = tf.lite.Interpreter(str(path))

    def probabilities(self, features: Features) -> NDArray[np.float32]:
        given, wanted = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        self._interpreter.resize_tensor_input(given["index"], (1, *features.shape))
        self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(given["index"], features[None])
        self._interpreter.invoke()
        probabilities: NDArray[np.float32] = self._interpreter.get_tensor(wanted["index"])[0]
        return probabilities


def export_lite(model_dir: Path, out: Path) -> float:
    """Write `out`, whole or not at all. Returns by how much its probabilities differ at most from the model's.

    Raises:
        DataError: the model folder is incomplete or damaged, or `out` cannot be written.
        TrainerError: the model has something in it that LiteRT does not know, or the two do not agree.
    """
    folder = ModelFolder.read(model_dir)
    try:
        with replacing(out) as temporary:
            temporary.touch()  # whether that can be is known before the seconds that the rest takes
            model = folder.load_model()
            temporary.write_bytes(_convert(model))
            with zipfile.ZipFile(temporary, "a") as archive:
                for name in (LABELS, INFERENCE):
                    archive.write(model_dir / name, name)
            difference = compare(model, Interpreter(temporary), _some_clips())
    except OSError as error:
        raise DataError(
            f"{out} cannot be written", why=error.strerror or str(error), mend="name another file with --out"
        ) from None
    return difference


def compare(model: keras.Model, lite: Interpreter, clips: list[Features]) -> float:
    """The largest difference of any probability.

    Raises:
        TrainerError: it is above `TOLERANCE` or no number, or another word is the likeliest.
    """
    largest = 0.0
    for features in clips:
        wanted, got = np.asarray(model(features[None], training=False))[0], lite.probabilities(features)
        difference = float(np.abs(wanted - got).max())
        if not difference <= TOLERANCE or wanted[got.argmax()] < wanted.max() - 1e-6:
            raise TrainerError(
                "the LiteRT model does not answer as the model does; nothing was written",
                why=f"a clip of {len(features)} frames: probabilities differ by {difference:.2g}",
                mend="tell us the versions of keras and tensorflow, and the layers of the model",
            )
        largest = max(largest, difference)
    return largest


def _convert(model: keras.Model) -> bytes:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / NAME
        try:
            model.export(
                file,
                format="litert",
                input_signature=[tf.TensorSpec((1, None, CHANNELS), tf.float32, name="features")],
                target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
                verbose=False,
            )
        except Exception as error:  # the converter raises its own, derived from Exception alone
            raise TrainerError("LiteRT cannot do what this model does", why=str(error).strip()[-500:]) from None
        return file.read_bytes()


def _some_clips() -> list[Features]:
    """Hands of random shape that wander; the right one is lost for a while, the left one is seen half of the time."""
    random = np.random.default_rng(0)
    clips = []
    for frames in LENGTHS:
        keypoints = random.normal(0, 0.1, (1, HANDS, LANDMARKS, AXES)) + random.normal(
            0, 0.02, (frames, HANDS, LANDMARKS, AXES)
        ).cumsum(axis=0)
        keypoints[frames // 3 : frames // 2, 1] = 0
        keypoints[: frames // 2, 0] = 0
        clips.append(normalise(keypoints.astype(np.float32)))
    return clips


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.lite", description="Export a model to LiteRT.")
    parser.add_argument("model_dir", type=Path, help="folder with the trained model")
    parser.add_argument("--out", type=Path, metavar="FILE.tflite", help=f"default: {NAME} in that folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # where Keras sees a GPU, it writes down that one's own kernel
    out = options.out or options.model_dir / NAME
    try:
        with Complaints():
            difference = export_lite(options.model_dir, out)
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    size, clips = out.stat().st_size, len(LENGTHS)
    if options.json:
        print(json.dumps({"file": str(out), "bytes": size, "difference": difference, "clips": clips}, indent=2))
    else:
        print(f"{out}: {size:,} bytes; probabilities within {difference:.1e} of the model's on {clips} clips")
    return 0


if __name__ == "__main__":
    sys.exit(main())
