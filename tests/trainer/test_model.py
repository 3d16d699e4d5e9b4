from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from contract.config import TrainerConfig
from trainer.model import build_model
from trainer.normalise import CHANNELS, normalise

PLAIN = TrainerConfig(units=8, layers=2, convolutions=0, bidirectional=False, pooling="last")
SMALL = TrainerConfig(units=8)
NETWORKS = (PLAIN, SMALL, SMALL.model_copy(update={"layers": 2, "pooling": "last"}))


def some_features(lengths: tuple[int, ...] = (3, 6, 4), seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    features = random.normal(size=(len(lengths), max(lengths), CHANNELS)).astype(np.float32)
    features[..., -1] = 1
    for row, length in zip(features, lengths, strict=True):
        row[length:] = 0
    return features


def test_probabilities_per_word() -> None:
    probabilities = np.asarray(build_model(SMALL, 5)(some_features()))
    assert probabilities.shape == (3, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("config", NETWORKS)
def test_padding_changes_nothing(config: TrainerConfig) -> None:
    model = build_model(config, 5)
    features = some_features()
    longer = np.pad(features, ((0, 0), (0, 9), (0, 0)))
    np.testing.assert_allclose(np.asarray(model(features)), np.asarray(model(longer)), atol=1e-6)


@pytest.mark.parametrize("config", NETWORKS)
def test_a_frame_without_hands_is_not_padding(config: TrainerConfig) -> None:
    keypoints = np.random.default_rng(0).random((6, 2, 21, 3)).astype(np.float32)
    keypoints[2:] = 0
    model = build_model(config, 5)
    whole, cut = (np.asarray(model(normalise(keypoints[:frames])[None])) for frames in (6, 2))
    assert np.abs(whole - cut).max() > 1e-6


@pytest.mark.parametrize("config", NETWORKS)
def test_layers_are_what_the_fused_kernel_accepts(config: TrainerConfig) -> None:
    """The conditions of keras.src.backend.tensorflow.rnn.cudnn_ok, apart from the GPU."""
    layers = []
    for layer in build_model(config, 5).layers:
        if isinstance(layer, keras.layers.Bidirectional):
            layers += [layer.forward_layer, layer.backward_layer]
        elif isinstance(layer, keras.layers.GRU):
            layers.append(layer)
    assert len(layers) == config.layers * (2 if config.bidirectional else 1)
    for layer in layers:
        assert layer.use_cudnn in ("auto", True)
        assert layer.activation is keras.activations.tanh
        assert layer.recurrent_activation is keras.activations.sigmoid
        assert layer.use_bias and layer.reset_after
        assert not layer.recurrent_dropout and not layer.unroll


def test_the_seed_decides_the_weights() -> None:
    def weights(seed: int) -> list[np.ndarray]:
        return build_model(SMALL.model_copy(update={"seed": seed}), 5).get_weights()

    assert all(np.array_equal(*pair) for pair in zip(weights(1), weights(1), strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(weights(1), weights(2), strict=True))
