"""Curves for TensorBoard. Enters: what each epoch reached. Leaves: event files, to be looked at with
`uvx tensorboard --logdir FOLDER`.

What an attempt goes on from is written again at its start, in place of the files of attempts before: no epoch is there
twice, and none is missing on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import tensorflow as tf

from trainer.say import say
from trainer.state import EpochRow


class Scalars:
    """`loss`, `accuracy`, `val_loss`, `val_accuracy`, `learning_rate` and `steps_per_second`, by optimiser steps done.

    How fast earlier attempts were is not known any more. What cannot be written is left out: no reason to stop.
    """

    def __init__(self, directory: Path, history: Iterable[EpochRow], learning_rate: Callable[[int], float]) -> None:
        """`learning_rate`: of an optimiser step, from 1."""
        self._learning_rate = learning_rate
        self._writer: tf.summary.SummaryWriter | None = None
        try:
            for old in directory.glob("events.out.tfevents.*"):
                old.unlink()
            self._writer = tf.summary.create_file_writer(str(directory))
        except (OSError, tf.errors.OpError) as refusal:
            self._give_up(refusal)
        for row in history:
            self._write(row.step, row.metrics())

    def write(self, row: EpochRow, steps_per_second: float) -> None:
        self._write(row.step, row.metrics() | {"steps_per_second": steps_per_second})

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self._writer is None:
            return
        try:
            with self._writer.as_default(step):
                for name, value in (values | {"learning_rate": self._learning_rate(step)}).items():
                    # What tf.summary.scalar writes; that one would need the package tensorboard.
                    tf.summary.write(name, tf.constant(value, tf.float32), metadata=_SCALAR)
            self._writer.flush()
        except (OSError, tf.errors.OpError) as refusal:
            self._give_up(refusal)

    def _give_up(self, refusal: Exception) -> None:
        self._writer = None
        say(f"TensorBoard's curves cannot be written, and are left out: {refusal}")


_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR"
)
