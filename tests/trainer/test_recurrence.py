from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from contract.config import TrainerConfig
from tests.trainer.test_learner import batch
from trainer.learner import Learner
from trainer.model import Layers, build_model
from trainer.recurrence import FastGRU

LENGTHS = (3, 7, 1)


def gru(layer: type[keras.layers.GRU], *, both_ways: bool, sequences: bool) -> Any:
    keras.utils.set_random_seed(3)
    made = layer(8, return_sequences=sequences, bias_initializer="random_normal", name="gru")
    return keras.layers.Bidirectional(made, name="both") if both_ways else made


def outcome(layer: Any, features: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """What comes out, and the gradients of a weighted sum of it by the inputs and by each weight."""
    inputs = tf.constant(features)

    @tf.function
    def run() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = layer(inputs, mask=tf.constant(mask))
            weights = tf.sin(tf.range(tf.size(output), dtype=tf.float32))
            total = tf.reduce_sum(output * tf.reshape(weights, tf.shape(output)))
        return output, *tape.gradient(total, [inputs, *layer.trainable_variables])

    return [array.numpy() for array in run()]


@pytest.mark.parametrize(("both_ways", "sequences"), [(False, False), (False, True), (True, True)])
def test_it_is_the_gru_of_keras_and_padding_teaches_exactly_nothing(both_ways: bool, sequences: bool) -> None:
    features = batch(LENGTHS)[0]
    mask = features[..., -1] > 0.5
    layers = [gru(layer, both_ways=both_ways, sequences=sequences) for layer in (keras.layers.GRU, FastGRU)]
    theirs, ours = (outcome(layer, features, mask) for layer in layers)
    kinds = {type(layer) for layer in layers[1]._flatten_layers()}
    assert FastGRU in kinds and keras.layers.GRU not in kinds
    assert len(ours) == 2 + 3 * (1 + both_ways)
    for their, our in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-4, atol=1e-5)
    assert ours[1][mask].all()
    assert not ours[1][~mask].any()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_is_trained_starts_as_what_is_exported_would(bidirectional: bool) -> None:
    config = TrainerConfig(units=8, layers=2, bidirectional=bidirectional)
    plain, fast = build_model(config, 5), build_model(config, 5, Layers(gru=FastGRU))
    assert [variable.path for variable in plain.weights] == [variable.path for variable in fast.weights]
    assert all(np.array_equal(*pair) for pair in zip(plain.get_weights(), fast.get_weights(), strict=True))


def test_the_model_to_export_is_keras_alone_and_answers_alike() -> None:
    learner = Learner(TrainerConfig(units=8, layers=2), 5, gpu=False)
    item = batch(LENGTHS)
    learner.step(item, 0.01, np.ones(3, np.float32))
    model = learner.model
    assert all(type(layer).__module__.startswith("keras.") for layer in model._flatten_layers())
    logits = learner.logits(item).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(model(item[0])), expected, atol=1e-5)
