"""The learner. Enters: settings and batches. Leaves: a model that learnt, one optimiser step at a time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contract.config import TrainerConfig
from contract.errors import DataError
from trainer.batches import Batch
from trainer.model import KERAS, Layers, build_model
from trainer.normalise import CHANNELS
from trainer.recurrence import FastGRU

Arrays = list[NDArray[Any]]


class Learner:
    """Model and optimiser: one step at a time, and everything they know as a list of arrays."""

    layers: ClassVar[Layers] = KERAS
    """What is trained, but for the GRU, which goes by the device."""
    adam: ClassVar[type[keras.optimizers.Adam]] = keras.optimizers.Adam

    def __init__(self, config: TrainerConfig, words: int, *, gpu: bool | None = None) -> None:
        """`gpu`: whether there is one; None: look."""
        tf.config.experimental.enable_op_determinism()
        if gpu is None:
            gpu = bool(tf.config.list_physical_devices("GPU"))
        self._config, self._words = config, words
        self._mixed = gpu and config.mixed_precision == "auto"
        layers = self.layers if gpu else replace(self.layers, gru=FastGRU)
        self._network = self._build("mixed_float16" if self._mixed else "float32", layers)
        self._scorer = keras.Model(self._network.inputs, self._network.get_layer("logits").output)
        self._optimizer = _optimizer(config, self.adam)
        if self._mixed:
            self._optimizer = keras.optimizers.LossScaleOptimizer(self._optimizer)
        self._optimizer.build(self._network.trainable_variables)
        # One signature for all lengths: a trace per length could round differently after a resume.
        batch = [tf.TensorSpec((None, None, CHANNELS), tf.float32), tf.TensorSpec((None,), tf.int32)]
        step = [tf.TensorSpec((), tf.float32), tf.TensorSpec((None,), tf.float32)]
        # Autograph has nothing to translate here, and what it writes into the temporary folder outlives a kill.
        graph = functools.partial(tf.function, autograph=False)
        self._train_on = graph(self._train, input_signature=batch + step)
        self._score_on = graph(self._score, input_signature=batch)
        self._logits_of = graph(self._logits, input_signature=batch[:1])

    @property
    def model(self) -> keras.Model:
        """A model of Keras's own layers, in 32 bits, as it is to be used on any machine, with the weights of now."""
        model = self._build("float32")
        model.set_weights(self.weights())
        return model

    def step(self, batch: Batch, learning_rate: float, weights: NDArray[np.float32]) -> tuple[float, int]:
        """One optimiser step, in which each sequence counts as `weights` (sequences,) say.

        Returns the summed loss, without weights, and the number of right answers, both before the step.
        """
        loss, correct = self._train_on(*batch, learning_rate, weights)
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
                mend="train with the version that wrote the checkpoint, with a GPU if that had one, or start a new run",
            )
        for variable, array in zip(variables, state, strict=True):
            variable.assign(array)

    def weights(self) -> Arrays:
        """The model's weights alone, as `set_weights` takes them."""
        return list(self._network.get_weights())

    def set_weights(self, weights: Sequence[NDArray[Any]]) -> None:
        self._network.set_weights(list(weights))

    def _variables(self) -> list[Any]:
        return [*self._network.variables, *self._optimizer.variables]

    def _build(self, precision: str, layers: Layers = KERAS) -> keras.Model:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision)
        try:
            return build_model(self._config, self._words, layers)
        finally:
            keras.config.set_dtype_policy(before)

    def _train(self, features: Any, targets: Any, learning_rate: Any, weights: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            logits = self._scorer(features, training=True)
            losses = self._losses(logits, targets)
            loss = self._optimizer.scale_loss(tf.reduce_mean(weights * losses))
        variables = self._network.trainable_variables
        self._optimizer.learning_rate.assign(learning_rate)
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        answers = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(answers == targets, tf.int32))

    def _score(self, features: Any, targets: Any) -> tuple[Any, Any]:
        logits = self._logits(features)
        return tf.reduce_sum(self._losses(logits, targets)), tf.argmax(logits, axis=-1, output_type=tf.int32)

    def _losses(self, logits: Any, targets: Any) -> Any:
        """Cross-entropy of each sequence (sequences,); with label smoothing (Szegedy et al. 2016) where it is set.

        Validation is judged by the same: without smoothing, an early and less certain epoch would look best.
        """
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        if smoothing := self._config.label_smoothing:
            losses = (1 - smoothing) * losses - smoothing * tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        return losses

    def _logits(self, features: Any) -> Any:
        return self._scorer(features, training=False)


def _optimizer(config: TrainerConfig, adam: type[keras.optimizers.Adam]) -> keras.optimizers.Optimizer:
    """Adam; with weight decay what Keras calls AdamW. Biases and norms are not decayed, as is usual."""
    optimizer = adam(
        config.learning_rate, weight_decay=config.weight_decay or None, global_clipnorm=config.clip_norm or None
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
