from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from contract.config import TrainerConfig
from trainer.model import build_model
from trainer.normalise import CHANNELS, normalise

SMALL = TrainerConfig(units=8, layers=2, dropout=0.3)


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


def test_padding_changes_nothing() -> None:
    model = build_model(SMALL, 5)
    features = some_features()
    longer = np.pad(features, ((0, 0), (0, 9), (0, 0)))
    np.testing.assert_allclose(np.asarray(model(features)), np.asarray(model(longer)), atol=1e-6)


def test_a_frame_without_hands_is_not_padding() -> None:
    keypoints = np.random.default_rng(0).random((6, 2, 21, 3)).astype(np.float32)
    keypoints[2:4] = 0
    features = normalise(keypoints)[None]
    mask = build_model(SMALL, 5).get_layer("padding").compute_mask(features)
    assert np.asarray(mask).all()


def test_layers_are_what_the_fused_kernel_accepts() -> None:
    """The conditions of keras.src.backend.tensorflow.rnn.cudnn_ok, apart from the GPU."""
    layers = [layer for layer in build_model(SMALL, 5).layers if isinstance(layer, keras.layers.GRU)]
    assert len(layers) == SMALL.layers
    for layer in layers:
        assert layer.use_cudnn in ("auto", True)
        assert layer.activation is keras.activations.tanh
        assert layer.recurrent_activation is keras.activations.sigmoid
        assert layer.use_bias and layer.reset_after
        assert not layer.recurrent_dropout and not layer.unroll and not layer.go_backwards


def test_the_seed_decides_the_weights() -> None:
    def weights(seed: int) -> list[np.ndarray]:
        return build_model(SMALL.model_copy(update={"seed": seed}), 5).get_weights()

    assert all(np.array_equal(*pair) for pair in zip(weights(1), weights(1), strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(weights(1), weights(2), strict=True))
