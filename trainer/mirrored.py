"""Several GPUs in one machine. Enters: settings, and the devices there are. Leaves: a learner that uses all of them.

Each device holds a copy of the model (`tf.distribute.MirroredStrategy`), learns from its share of each batch and
follows the sum of all gradients. A batch stays `batch_size` sequences, and a step does what it does on one device, but
for the rounding of sums: the mean is over the whole batch, a gradient's length is that of the sum, and dropout drops
the same. So a checkpoint is the same one, too: a run may go on with more devices than it began with, or fewer. Exact,
bit for bit, is a resume with as many as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from contract.config import TrainerConfig
from trainer.learner import Learner
from trainer.model import Layers
from trainer.say import say


def make_learner(config: TrainerConfig, words: int, devices: Sequence[str] | None) -> Learner:
    """A learner on `devices`, named as TensorFlow does ("GPU:0"); None: on every GPU that TensorFlow sees.

    With one, or none, a plain learner, which TensorFlow places.
    """
    if devices is None:
        devices = [f"GPU:{number}" for number in range(len(tf.config.list_physical_devices("GPU")))]
    if len(devices) < 2:
        return Learner(config, words)
    say(f"{len(devices)} devices share each batch of {config.batch_size}: {', '.join(devices)}")
    return MirroredLearner(config, words, devices)


def _own_rows(drop: Callable[..., Any], ones: Any) -> Any:
    """What `drop` leaves of this replica's `ones` when it is given those of all replicas.

    Every replica draws the same, for a seed is read and moved on in its own copy. The rows of one device's batch are
    the first of that draw, however many fill it up: TensorFlow's stateless generator counts from the array's beginning.
    """
    replica = tf.distribute.get_replica_context()
    rows = tf.shape(ones)[0]
    first = replica.replica_id_in_sync_group * rows
    return drop(tf.repeat(ones, replica.num_replicas_in_sync, axis=0), training=True)[first : first + rows]


class SharedDropout(keras.layers.Dropout):  # type: ignore[misc]
    """Drops from a share of a batch what Keras's own would drop there from the whole."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return inputs * _own_rows(super().call, tf.ones_like(inputs)) if training else inputs


class SharedChannelDropout(keras.layers.SpatialDropout1D):  # type: ignore[misc]
    """The same of whole channels."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return inputs * _own_rows(super().call, tf.ones_like(inputs[:, :1])) if training else inputs


def _sum_over_replicas(gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
    """Of each variable. Sent as one array: copies between devices cost by number rather than by size."""
    flat = tf.concat([tf.reshape(gradient, (-1,)) for gradient in gradients], 0)
    flat = tf.distribute.get_replica_context().all_reduce("SUM", flat)
    parts = tf.split(flat, [math.prod(variable.shape) for variable in variables])
    return [tf.reshape(part, variable.shape) for part, variable in zip(parts, variables, strict=True)]


class SummedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Gets gradients that are sums over all replicas already.

    Keras would sum them after it has shortened them (`clip_norm`) and looked for overflows, each replica's by itself.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars


class MirroredLearner(Learner):
    """Trains on all devices; scores on the first, which takes a fraction of the time."""

    layers = Layers(dropout=SharedDropout, channel_dropout=SharedChannelDropout)
    adam = SummedAdam

    def __init__(self, config: TrainerConfig, words: int, devices: Sequence[str], *, gpu: bool | None = None) -> None:
        """`gpu`: whether the devices are; None: look."""
        # Added on the first device, in an order that no machine's wiring decides. The default's collectives fail for a
        # second learner of other shapes in one process: https://github.com/tensorflow/tensorflow/issues/62790.
        self._strategy = tf.distribute.MirroredStrategy(list(devices), tf.distribute.ReductionToOneDevice())
        with self._strategy.scope():
            super().__init__(config, words, gpu=gpu)

    def _train(self, features: Any, targets: Any, learning_rate: Any, weights: Any) -> tuple[Any, Any]:
        self._optimizer.learning_rate.assign(learning_rate)
        loss, correct = self._strategy.run(self._train_share, (features, targets, weights))
        return self._strategy.reduce("SUM", loss, axis=None), self._strategy.reduce("SUM", correct, axis=None)

    def _train_share(self, features: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """One replica's part of a step. The last replicas' shares are filled up with a sequence that does not count."""
        replica = tf.distribute.get_replica_context()
        sequences = tf.shape(targets)[0]
        share = -(-sequences // replica.num_replicas_in_sync)
        places = replica.replica_id_in_sync_group * share + tf.range(share)
        counts = places < sequences
        features, targets, weights = (
            tf.gather(array, tf.minimum(places, sequences - 1)) for array in (features, targets, weights)
        )
        with tf.GradientTape() as tape:
            logits = self._scorer(features, training=True)
            losses = tf.where(counts, self._losses(logits, targets), 0.0)
            mean = tf.reduce_sum(weights * losses) / tf.cast(sequences, tf.float32)
            loss = self._optimizer.scale_loss(mean)
        variables = self._network.trainable_variables
        self._optimizer.apply(_sum_over_replicas(tape.gradient(loss, variables), variables), variables)
        right = counts & (tf.argmax(logits, axis=-1, output_type=tf.int32) == targets)
        return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(right, tf.int32))
