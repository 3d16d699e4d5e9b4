from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from contract.config import TrainerConfig
from contract.errors import DataError
from trainer.batches import Batch
from trainer.learner import Learner
from trainer.normalise import CHANNELS

SMALL = TrainerConfig.model_validate(
    {
        **{"units": 8, "layers": 1, "convolutions": 0, "bidirectional": False, "pooling": "last", "dropout": 0.3},
        **{"learning_rate": 1e-3, "weight_decay": 0, "clip_norm": 0, "label_smoothing": 0},
    }
)
EVERYTHING = {
    **{"weight_decay": 0.1, "clip_norm": 0.5, "label_smoothing": 0.1, "mixed_precision": "auto"},
    **{"convolutions": 1, "bidirectional": True, "pooling": "attention"},
}


def batch(lengths: tuple[int, ...] = (3, 6, 4), seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    features = random.normal(size=(len(lengths), max(lengths), CHANNELS)).astype(np.float32)
    features[..., -1] = 1
    for row, length in zip(features, lengths, strict=True):
        row[length:] = 0
    return features, np.arange(len(lengths), dtype=np.int32) % 2


def step(
    learner: Learner, item: Batch, rate: float = 1e-3, weights: float | Sequence[float] = 1.0
) -> tuple[float, int]:
    return learner.step(item, rate, np.broadcast_to(np.float32(weights), item[1].shape))


def changed(**settings: Any) -> TrainerConfig:
    return SMALL.model_copy(update=settings)


@pytest.mark.parametrize("gpu", [False, True])
def test_a_restored_learner_goes_on_bit_for_bit(gpu: bool) -> None:
    """`gpu=True` on a machine without one: in 16 bits, slowly."""
    config = changed(**EVERYTHING)
    batches = [batch(seed=seed, lengths=(3 + seed, 2)) for seed in range(6)]
    whole = Learner(config, 5, gpu=gpu)
    before = [step(whole, item, 0.01) for item in batches[:3]]
    state = whole.state()
    after = [step(whole, item, 0.002) for item in batches[3:]]

    resumed = Learner(config.model_copy(update={"seed": 99}), 5, gpu=gpu)
    resumed.restore(state)
    assert [step(resumed, item, 0.002) for item in batches[3:]] == after
    assert all(np.array_equal(*pair) for pair in zip(resumed.state(), whole.state(), strict=True))
    assert before != after


def test_state_is_a_copy() -> None:
    learner = Learner(SMALL, 5)
    state = learner.state()
    copies = [array.copy() for array in state]
    step(learner, batch())
    assert all(np.array_equal(*pair) for pair in zip(state, copies, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(state, learner.state(), strict=True))


def test_steps_learn() -> None:
    learner = Learner(SMALL, 2)
    first, _ = learner.score(batch())
    for _ in range(30):
        step(learner, batch(), 0.05)
    last, answers = learner.score(batch())
    assert last < first / 2
    np.testing.assert_array_equal(answers, batch()[1])


def test_scoring_changes_nothing() -> None:
    learner = Learner(SMALL, 5)
    before = learner.state()
    learner.score(batch())
    assert all(np.array_equal(*pair) for pair in zip(before, learner.state(), strict=True))


def test_arrays_of_another_model_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        Learner(SMALL, 5).restore(Learner(changed(layers=2), 5).state())


def test_logits_are_what_is_scored() -> None:
    learner = Learner(SMALL, 5)
    logits = learner.logits(batch())
    assert logits.shape == (3, 5)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits.argmax(axis=1), learner.score(batch())[1])


def moved(config: TrainerConfig, *, rate: float = 0.01) -> dict[str, np.ndarray]:
    """What one step adds to each of the weights that are learnt, by path."""
    learner = Learner(config, 5, gpu=False)
    before = {variable.path: variable.numpy().copy() for variable in learner.model.trainable_variables}
    step(learner, batch(), rate)
    return {variable.path: variable.numpy() - before[variable.path] for variable in learner.model.trainable_variables}


def test_the_step_size_is_the_one_given() -> None:
    """Adam's first step is the step size, in the direction of each gradient's sign."""
    assert SMALL.learning_rate != 0.002
    assert max(np.abs(change).max() for change in moved(SMALL, rate=0.002).values()) == pytest.approx(0.002, 1e-3)


def test_weight_decay_shrinks_kernels_and_leaves_biases() -> None:
    plain, decayed = moved(SMALL), moved(changed(weight_decay=0.5))
    assert {path for path in plain if np.array_equal(plain[path], decayed[path])} == {
        path for path in plain if path.endswith("bias")
    }


def test_a_clip_that_does_not_count_teaches_nothing() -> None:
    learner = Learner(SMALL, 5, gpu=False)
    before = learner.weights()
    loss, _ = step(learner, batch(), weights=0.0)
    assert loss > 0
    np.testing.assert_array_equal(before[0], learner.weights()[0])
    step(learner, batch(), weights=[1, 0, 0])
    assert not np.array_equal(before[0], learner.weights()[0])


def test_long_gradients_are_shortened() -> None:
    """Adam's first step hides it, its second moment does not: it is the square of the gradient × (1 - 0.999)."""

    def length(clip_norm: float) -> float:
        learner = Learner(changed(clip_norm=clip_norm), 5, gpu=False)
        step(learner, batch())
        velocities = [variable.numpy() for variable in learner._optimizer.variables if "velocity" in variable.path]
        return float(np.sqrt(sum(velocity.sum() for velocity in velocities) / 1e-3))

    assert length(0) > 0.01
    assert length(0.01) == pytest.approx(0.01, 1e-3)


def test_smoothing_wants_less_certainty_in_training_and_in_validation() -> None:
    """The best that 0.2 allows for two words is to be 90 % sure: the entropy of (0.9, 0.1)."""

    def after(label_smoothing: float) -> float:
        learner = Learner(changed(dropout=0, label_smoothing=label_smoothing), 2, gpu=False)
        for _ in range(60):
            step(learner, batch(), 0.05)
        return learner.score(batch())[0] / 3

    assert after(0) < 0.02
    assert after(0.2) == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1), abs=0.01)


def test_mixed_precision_leaves_a_model_in_32_bits() -> None:
    before = keras.config.dtype_policy().name
    learner = Learner(SMALL, 5, gpu=True)
    assert keras.config.dtype_policy().name == before
    assert "float16" in {layer.compute_dtype for layer in learner._network.layers}
    assert learner._network.get_layer("logits").compute_dtype == "float32"
    assert all(array.dtype == np.float32 for array in learner.weights() if array.dtype.kind == "f")
    model = learner.model
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    logits = learner.logits(batch()).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(model(batch()[0])), expected, atol=0.01)


def test_without_a_gpu_or_when_off_32_bits_are_kept() -> None:
    for learner in (Learner(SMALL, 5, gpu=False), Learner(changed(mixed_precision="off"), 5, gpu=True)):
        assert {layer.compute_dtype for layer in learner.model.layers} == {"float32"}
