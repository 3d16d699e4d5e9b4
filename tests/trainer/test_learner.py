from __future__ import annotations

import numpy as np
import pytest

from contract.config import TrainerConfig
from contract.errors import DataError
from trainer.batches import Batch
from trainer.learner import Learner
from trainer.normalise import CHANNELS

SMALL = TrainerConfig(units=8, layers=2, dropout=0.3)


def batch(lengths: tuple[int, ...] = (3, 6, 4), seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    features = random.normal(size=(len(lengths), max(lengths), CHANNELS)).astype(np.float32)
    features[..., -1] = 1
    for row, length in zip(features, lengths, strict=True):
        row[length:] = 0
    return features, np.arange(len(lengths), dtype=np.int32) % 2


def test_a_restored_learner_goes_on_bit_for_bit() -> None:
    batches = [batch(seed=seed, lengths=(3 + seed, 2)) for seed in range(6)]
    whole = Learner(SMALL, 5)
    before = [whole.step(item) for item in batches[:3]]
    state = whole.state()
    after = [whole.step(item) for item in batches[3:]]

    resumed = Learner(SMALL.model_copy(update={"seed": 99}), 5)
    resumed.restore(state)
    assert [resumed.step(item) for item in batches[3:]] == after
    assert all(np.array_equal(*pair) for pair in zip(resumed.state(), whole.state(), strict=True))
    assert before != after


def test_state_is_a_copy() -> None:
    learner = Learner(SMALL, 5)
    state = learner.state()
    copies = [array.copy() for array in state]
    learner.step(batch())
    assert all(np.array_equal(*pair) for pair in zip(state, copies, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(state, learner.state(), strict=True))


def test_steps_learn() -> None:
    learner = Learner(SMALL.model_copy(update={"learning_rate": 0.05}), 2)
    first, _ = learner.score(batch())
    for _ in range(30):
        learner.step(batch())
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
        Learner(SMALL, 5).restore(Learner(SMALL.model_copy(update={"layers": 1}), 5).state())


def test_logits_are_what_is_scored() -> None:
    learner = Learner(SMALL, 5)
    logits = learner.logits(batch())
    assert logits.shape == (3, 5)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits.argmax(axis=1), learner.score(batch())[1])
