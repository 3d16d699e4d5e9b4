"""A GRU that trains faster on a processor. Enters: what `keras.layers.GRU` gets. Leaves: the same, but for rounding.

Keras's own computes a gradient frame by frame. Here the loop over the frames holds only what has to wait for the
frame before: all products with the inputs, everything that the gradient needs of the gates, and the gradients of
the weights are each one product over all frames. The weights are those of `keras.layers.GRU`, and so is what is
exported: a model of these layers lives only while it is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

PADDED = 1e9
"""Added to the update gate's sum where there is padding: its sigmoid is then exactly 1, and the state stays."""


@keras.saving.register_keras_serializable(package="signspot")
class FastGRU(keras.layers.GRU):  # type: ignore[misc]
    """In 32 bits, with the layer settings that `trainer.model` uses, and always with a mask."""

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:  # noqa: ARG002
        """Last output, all outputs and the states, as `keras.layers.RNN` wants them."""
        states = keras.tree.flatten(initial_state)
        valid = tf.cast(tf.transpose(keras.tree.flatten(mask)[0])[..., None], tf.float32)
        features = tf.transpose(sequences, (1, 0, 2))
        if self.go_backwards:
            valid, features = tf.reverse(valid, [0]), tf.reverse(features, [0])
        cell, units = self.cell, [2 * self.units, self.units]
        kernel, recurrent, biases = map(tf.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, cell.bias))
        gates_bias, candidate_bias = tf.split(biases[1], units)
        # Biases and padding are two more input channels: their sums and gradients come with the one large product.
        bias = biases[0] + tf.concat([gates_bias, tf.zeros(self.units)], 0)
        padded = tf.constant([PADDED] * self.units + [0.0] * units[0])
        kernel = tf.concat([kernel, bias[None], padded[None]], 0)
        features = tf.concat([features, tf.ones_like(valid), 1 - valid], -1)
        hidden = _recur(features, states[0], kernel, recurrent, candidate_bias)
        last = hidden[-1]
        if self.zero_output_for_mask:
            hidden *= valid
        return last, tf.transpose(hidden, (1, 0, 2)), [last]


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _recur(inputs: Any, first: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """All states (frames, sequences, units); inputs (frames, sequences, channels), `bias` of the candidate alone.

    Cho et al. 2014, with the reset after the product, as in cuDNN and Keras (`reset_after`):
    z, r = sigmoid(input + state · recurrent), c = tanh(input + r (state · recurrent + bias)), next = z state + (1-z) c.
    """
    units = recurrent.shape[0]
    gates = [2 * units, units]
    flat = tf.reshape(inputs, (-1, inputs.shape[-1]))
    projected = _unflatten(flat @ kernel, inputs)
    gates_in, candidate_in = tf.split(projected, gates, -1)

    def forward(state: Any, gate_in: Any, candidate: Any) -> tuple[Any, Any]:
        gate, reset_part = tf.split(state @ recurrent, gates, -1)
        update, reset = tf.split(tf.sigmoid(gate_in + gate), 2, -1)
        candidate = tf.tanh(candidate + reset * (reset_part + bias))
        state = candidate + update * (state - candidate)
        return state, state

    _, states = _scan(forward, first, [gates_in, candidate_in])

    def gradient(upstream: Any) -> tuple[Any, ...]:
        before = tf.concat([first[None], states[:-1]], 0)
        flat_before = tf.reshape(before, (-1, units))
        gate, reset_part = tf.split(_unflatten(flat_before @ recurrent, inputs), gates, -1)
        update, reset = tf.split(tf.sigmoid(gates_in + gate), 2, -1)
        reset_part += bias
        candidate = tf.tanh(candidate_in + reset * reset_part)
        # How the sums before sigmoid and tanh move the state: update, reset, and the candidate's recurrent part.
        by_candidate = (1 - update) * (1 - candidate * candidate)
        by_reset_part = by_candidate * reset
        by_sums = tf.concat(
            [(before - candidate) * update * (1 - update), by_reset_part * reset_part * (1 - reset), by_reset_part], -1
        )
        transposed = tf.transpose(recurrent)

        def backward(later: Any, here: Any, by_sum: Any, update: Any) -> tuple[Any, Any]:
            here += later
            return here * update + (tf.concat([here] * 3, -1) * by_sum) @ transposed, here

        to_first, to_states = _scan(backward, tf.zeros_like(first), [upstream, by_sums, update], reverse=True)
        to_sums = tf.concat([to_states] * 3, -1) * by_sums
        to_gates, to_reset_part = tf.split(to_sums, gates, -1)
        to_projected = tf.reshape(tf.concat([to_gates, to_states * by_candidate], -1), (-1, 3 * units))
        return (
            _unflatten(tf.matmul(to_projected, kernel, transpose_b=True), inputs),
            to_first,
            tf.matmul(flat, to_projected, transpose_a=True),
            tf.matmul(flat_before, tf.reshape(to_sums, (-1, 3 * units)), transpose_a=True),
            tf.reduce_sum(to_reset_part, (0, 1)),
        )

    return states, gradient


def _scan(
    step: Callable[..., tuple[Any, Any]], first: Any, inputs: Sequence[Any], *, reverse: bool = False
) -> tuple[Any, Any]:
    """The last state and each frame's output, where step(state, *frame of each input) is (next state, output)."""
    frames = tf.shape(inputs[0])[0]
    rows = [tf.TensorArray(array.dtype, frames, element_shape=array.shape[1:]).unstack(array) for array in inputs]
    start, stride = (frames - 1, -1) if reverse else (0, 1)

    def body(frame: Any, state: Any, outputs: Any) -> tuple[Any, Any, Any]:
        state, output = step(state, *(row.read(frame) for row in rows))
        return frame + stride, tf.ensure_shape(state, first.shape), outputs.write(frame, output)

    outputs = tf.TensorArray(first.dtype, frames, element_shape=first.shape)
    going = lambda frame, *_: (frame >= 0) & (frame < frames)  # noqa: E731
    _, last, outputs = tf.while_loop(going, body, (start, first, outputs))
    return last, outputs.stack()


def _unflatten(flat: Any, like: Any) -> Any:
    """(frames x sequences, channels) → (frames, sequences, channels)."""
    shape = tf.shape(like)
    return tf.reshape(flat, (shape[0], shape[1], flat.shape[-1]))
