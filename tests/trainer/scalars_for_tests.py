"""TensorBoard's files, read."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def read_scalars(directory: Path) -> list[tuple[str, int, float]]:
    """Every scalar that is there, as TensorBoard reads it."""
    found = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found.append((value.tag, event.step, float(tf.make_ndarray(value.tensor))))
    return found
