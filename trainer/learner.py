"""The learner. Enters: settings and batches. Leaves: a model that learnt, one optimiser step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.config import TrainerConfig
from contract.errors import DataError
from trainer.batches import Batch
from trainer.model import build_model
from trainer.normalise import CHANNELS

Arrays = list[NDArray[Any]]


class Learner:
    """Model and optimiser: one step at a time, and everything they know as a list of arrays."""

    def __init__(self, config: TrainerConfig, words: int) -> None:
        tf.config.experimental.enable_op_determinism()
        self.model = build_model(config, words)
        self._scorer = keras.Model(self.model.inputs, self.model.get_layer("logits").output)
        self._optimizer = keras.optimizers.Adam(config.learning_rate)
        self._optimizer.build(self.model.trainable_variables)
        # One signature for all lengths: a trace per length could round differently after a resume.
        signature = [tf.TensorSpec((None, None, CHANNELS), tf.float32), tf.TensorSpec((None,), tf.int32)]
        self._train_on = tf.function(self._train, input_signature=signature)
        self._score_on = tf.function(self._score, input_signature=signature)
        self._logits_of = tf.function(self._logits, input_signature=signature[:1])

    def step(self, batch: Batch) -> tuple[float, int]:
        """One optimiser step. Returns the summed loss and the number of right answers, both before the step."""
        loss, correct = self._train_on(*batch)
        return float(loss), int(correct)

    def score(self, batch: Batch) -> tuple[float, NDArray[np.int32]]:
        """Summed loss and the answers (sequences,), without dropout."""
        loss, answers = self._score_on(*batch)
        return float(loss), answers.numpy()

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """What the softmax gets, (sequences, words), without dropout."""
        logits: NDArray[np.float32] = self._logits_of(batch[0]).numpy()
        return logits

    def state(self) -> Arrays:
        """Weights, dropout's random state and the optimiser, copied to host memory."""
        return [variable.numpy() for variable in self._variables()]

    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        """Continue exactly from `state()` of an equally configured learner.

        Raises:
            DataError: the arrays do not fit this model.
        """
        variables = self._variables()
        mine, theirs = [tuple(variable.shape) for variable in variables], [array.shape for array in state]
        if mine != theirs:
            raise DataError(
                "the checkpoint's arrays do not fit the model",
                why=f"{len(theirs)} arrays for {len(mine)} variables, or other shapes",
                mend="train with the version that wrote the checkpoint, or start a new run",
            )
        for variable, array in zip(variables, state, strict=True):
            variable.assign(array)

    def weights(self) -> Arrays:
        """The model's weights alone, as `set_weights` takes them."""
        return list(self.model.get_weights())

    def set_weights(self, weights: Sequence[NDArray[Any]]) -> None:
        self.model.set_weights(list(weights))

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self._optimizer.variables]

    def _train(self, features: Any, targets: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            logits = self._scorer(features, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(losses)
        variables = self.model.trainable_variables
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        answers = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(answers == targets, tf.int32))

    def _score(self, features: Any, targets: Any) -> tuple[Any, Any]:
        logits = self._logits(features)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return tf.reduce_sum(losses), tf.argmax(logits, axis=-1, output_type=tf.int32)

    def _logits(self, features: Any) -> Any:
        return self._scorer(features, training=False)
