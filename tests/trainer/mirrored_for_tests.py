"""Trains on one device and on two that share this processor; what came of it goes into a folder.

    python tests/trainer/mirrored_for_tests.py DATASET FOLDER

A process of its own, because TensorFlow must be told of the second device before it does anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from contract.config import TrainerConfig
from trainer.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from trainer.dataset import Dataset, load_dataset
from trainer.learner import Learner
from trainer.loop import Loop
from trainer.mirrored import MirroredLearner, make_learner
from trainer.normalise import CHANNELS

DEVICES = ("CPU:0", "CPU:1")
CONFIG = TrainerConfig.model_validate(
    {
        **{"units": 8, "batch_size": 19, "epochs": 3, "warmup_epochs": 1, "convolutions": 1, "dropout": 0.3},
        **{"clip_norm": 0.05, "weight_decay": 0.1, "class_weights": "balanced", "augment": True},
    }
)
"""Of the 20 sequences to train from a batch has 19, which two devices cannot halve, and the next one 1."""
SMALL = {"units": 4, "convolutions": 0, "bidirectional": False, "pooling": "last"}
OVERFLOW = 1e36
"""In 16 bits, with the factor that a loss gets there, no gradient of this is a number."""


def train(learner: Learner, dataset: Dataset, resume: Path | None = None) -> tuple[Loop, list[Checkpoint]]:
    """The loop at its end, and what it saved: after three steps, after six, at the end."""
    saved: list[Checkpoint] = []
    nothing: Any = lambda *_: None  # noqa: E731
    loop = Loop(
        *(learner, dataset, CONFIG),
        save=saved.append,
        report=nothing,
        check_stop=nothing,
        checkpoint_seconds=1e9,
        checkpoint_steps=3,
    )
    if resume:
        loop.resume(read_checkpoint(resume))
    loop.run()
    return loop, saved


def in_16_bits(learner: Learner) -> list[list[Any]]:
    """What the learner knows after a step, and after one that overflows and so is none."""
    features = np.random.default_rng(1).normal(size=(3, 4, CHANNELS)).astype(np.float32)
    features[..., -1] = 1
    known = []
    for weights in ([0.5, 2.0, 1.0], [OVERFLOW, 1.0, 1.0]):
        learner.step((features, np.array([0, 1, 2], np.int32)), 0.01, np.array(weights, np.float32))
        known.append(learner.state())
    return known


def main(data: Path, folder: Path) -> None:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    known: dict[str, list[Any]] = {}
    small = CONFIG.model_copy(update=SMALL)
    known["16-one"], known["16-one-overflow"] = in_16_bits(Learner(small, 3, gpu=True))
    # Where there is a GPU in earnest: Keras's own GRU, and an optimiser that looks for overflows.
    known["16-two"], known["16-two-overflow"] = in_16_bits(MirroredLearner(small, 3, DEVICES, gpu=True))

    dataset = load_dataset(data, augmented=True)
    assert len(dataset.train) == CONFIG.batch_size + 1
    one, two, again = (make_learner(CONFIG, len(dataset.labels), DEVICES[:count]) for count in (1, 2, 2))
    assert isinstance(two, MirroredLearner)
    loops = {"one": train(one, dataset), "two": train(two, dataset)}
    paths = {name: write_checkpoint(folder / name, saved[0]) for name, (_, saved) in loops.items()}
    loops["two-resumed"] = train(again, dataset, paths["two"])
    loops["one-from-two"] = train(one, dataset, paths["two"])
    loops["two-from-one"] = train(again, dataset, paths["one"])
    states = {}
    for name, (loop, saved) in loops.items():
        known[name] = [*saved[-1].learner, *loop.best]
        states[name] = loop.state.model_dump()
    copies = [two._strategy.experimental_local_results(variable.value) for variable in two._variables()]
    for number, name in enumerate(("first", "second")):
        known[name] = [values[number].numpy() for values in copies]

    for name, arrays in known.items():
        np.savez(folder / f"{name}.npz", *arrays)
    (folder / "states.json").write_text(json.dumps({"resumed_at": paths["two"].name, **states}), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
