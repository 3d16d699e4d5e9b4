"""The network. Enters: settings and the number of words. Leaves: an untrained Keras model.

The model maps features (sequences, frames, CHANNELS) to a probability per word. Layer settings
are those that Keras's fused cuDNN kernel accepts (tanh and sigmoid, no recurrent dropout, reset
after the product, biases, right padding); on a CPU the same model runs without it.
"""

from __future__ import annotations

import keras

from contract.config import TrainerConfig
from trainer.normalise import CHANNELS


def build_model(config: TrainerConfig, words: int) -> keras.Model:
    """An untrained model; the same settings and seed give the same weights."""
    keras.utils.set_random_seed(config.seed)
    features = keras.Input((None, CHANNELS), name="features")
    # Every real frame has a 1 in its last channel, so exactly the padding is all zeros.
    hidden = keras.layers.Masking(0.0, name="padding")(features)
    for layer in range(config.layers):
        last = layer == config.layers - 1
        # Not `GRU(dropout=…)`, which does the same but draws random numbers in evaluation too: an
        # evaluation done twice after an interruption would change what follows.
        hidden = keras.layers.SpatialDropout1D(config.dropout, name=f"dropout_{layer}")(hidden)
        hidden = keras.layers.GRU(config.units, return_sequences=not last, name=f"gru_{layer}")(hidden)
    # In 32 bits under mixed precision, too: a sum of exponentials is more than 16 bits can tell apart.
    logits = keras.layers.Dense(words, dtype="float32", name="logits")(hidden)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(features, probabilities, name="signspot")
