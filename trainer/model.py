"""The network. Enters: settings and the number of words. Leaves: an untrained Keras model.

The model maps features (sequences, frames, CHANNELS) to a probability per word. Layer settings
are those that Keras's fused cuDNN kernel accepts (tanh and sigmoid, no recurrent dropout, reset
after the product, biases, right padding); on a CPU the same model runs without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from contract.config import TrainerConfig
from trainer.normalise import CHANNELS

KERNEL_FRAMES = 5
"""Frames that a convolution sees at once."""
ATTENTION_UNITS = 64


@dataclass(frozen=True)
class Layers:
    """Classes of the layers that training may want of another kind; what is exported is Keras's own."""

    gru: type[keras.layers.GRU] = keras.layers.GRU
    dropout: type[keras.layers.Dropout] = keras.layers.Dropout
    channel_dropout: type[keras.layers.SpatialDropout1D] = keras.layers.SpatialDropout1D


KERAS = Layers()


def build_model(config: TrainerConfig, words: int, layers: Layers = KERAS) -> keras.Model:
    """An untrained model; the same settings and seed give the same weights, whichever `layers` have them."""
    keras.utils.set_random_seed(config.seed)
    features = keras.Input((None, CHANNELS), name="features")
    valid = features[..., -1:]  # 1 in every real frame, 0 in padding
    hidden = _convolve(features, valid, config, layers) if config.convolutions else features
    is_valid = keras.ops.squeeze(valid, -1) > 0.5
    for layer in range(config.layers):
        keep_frames = config.pooling == "attention" or layer < config.layers - 1
        # Not `GRU(dropout=…)`, which does the same but draws random numbers in evaluation too: an
        # evaluation done twice after an interruption would change what follows.
        hidden = layers.channel_dropout(config.dropout, name=f"dropout_{layer}")(hidden)
        recurrent = layers.gru(config.units, return_sequences=keep_frames, name=f"gru_{layer}")
        if config.bidirectional:
            recurrent = keras.layers.Bidirectional(recurrent, name=f"gru_{layer}")
        hidden = recurrent(hidden, mask=is_valid)
    if config.pooling == "attention":
        hidden = _attend(hidden, valid)
        hidden = layers.dropout(config.dropout, name="dropout")(hidden)
    # In 32 bits under mixed precision, too: a sum of exponentials is more than 16 bits can tell apart.
    logits = keras.layers.Dense(words, dtype="float32", name="logits")(hidden)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(features, probabilities, name="signspot")


def _convolve(features: Any, valid: Any, config: TrainerConfig, layers: Layers) -> Any:
    """Movement within a few frames: residual convolutions (He et al. 2016) of `units` channels; padding stays zero."""
    hidden = keras.layers.Dense(config.units, name="embedding")(features)
    hidden = _activate(hidden, "embedding") * valid
    for layer in range(config.convolutions):
        dropped = layers.channel_dropout(config.dropout, name=f"convolution_{layer}_dropout")(hidden)
        change = keras.layers.Conv1D(config.units, KERNEL_FRAMES, padding="same", name=f"convolution_{layer}")(dropped)
        hidden = (hidden + _activate(change, f"convolution_{layer}")) * valid
    return hidden


def _activate(hidden: Any, name: str) -> Any:
    hidden = keras.layers.LayerNormalization(name=f"{name}_norm")(hidden)
    return keras.layers.Activation("gelu", name=f"{name}_gelu")(hidden)


def _attend(hidden: Any, valid: Any) -> Any:
    """The mean of all frames, each weighted by what a small network makes of it (Bahdanau et al. 2015)."""
    scores = keras.layers.Dense(ATTENTION_UNITS, activation="tanh", name="attention_hidden")(hidden)
    scores = keras.layers.Dense(1, dtype="float32", name="attention_score")(scores)
    weights = keras.ops.softmax(scores + (keras.ops.cast(valid, "float32") - 1) * 1e9, axis=1)
    return keras.ops.sum(hidden * keras.ops.cast(weights, hidden.dtype), axis=1)
