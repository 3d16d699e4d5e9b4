from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from contract.config import TrainerConfig
from trainer.batches import Batch
from trainer.dataset import Dataset, Split
from trainer.normalise import CHANNELS
from trainer.overfit import PLAIN, STEPS, one_batch, overfit, plain
from trainer.sequences import Sequences
from trainer.stop import Stopped

BATCH: Batch = (np.ones((4, 2, CHANNELS), np.float32), np.array([0, 1, 1, 0], np.int32))


class Script:
    """A learner whose loss is told."""

    def __init__(self, *losses: float) -> None:
        self.losses = list(losses)
        self.steps = 0

    def step(self, batch: Batch, learning_rate: float, weights: Any) -> tuple[float, int]:
        self.steps += 1
        loss = self.losses.pop(0) if len(self.losses) > 1 else self.losses[0]
        return loss * len(batch[1]), 3


def attempt(learner: Script) -> bool:
    return overfit(cast(Any, learner), BATCH, TrainerConfig(), lambda: None)


def test_it_ends_as_soon_as_the_batch_is_known_by_heart(capsys: pytest.CaptureFixture[str]) -> None:
    learner = Script(2.0, 0.5, 0.049, 0.01)
    assert attempt(learner)
    assert learner.steps == 3
    out = capsys.readouterr().out
    assert "one batch of 4 clips of 2 words" in out
    assert "step 2 loss 0.0490, 3 of 4 right" in out
    assert "it works" in out


@pytest.mark.parametrize("loss", [0.05, float("nan")])
def test_it_gives_up_and_says_what_to_look_at(loss: float, capsys: pytest.CaptureFixture[str]) -> None:
    learner = Script(loss)
    assert not attempt(learner)
    assert learner.steps == STEPS + 1
    out = capsys.readouterr().out
    assert f"it does NOT work: after {STEPS} steps the loss is {loss:.4f}" in out
    assert "trainer.learning_rate" in out


def test_it_can_be_stopped() -> None:
    def check_stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        overfit(cast(Any, Script(1.0)), BATCH, TrainerConfig(), check_stop)


def test_the_batch_has_the_most_words() -> None:
    features = Sequences.of([np.ones((length, CHANNELS)) for length in (1, 1, 2, 2)], (CHANNELS,))
    train = Split(features, np.array([0, 0, 0, 1], np.int32))
    empty = Split(Sequences((CHANNELS,)), np.zeros(0, np.int32))
    batch = one_batch(Dataset(("a", "b"), "f" * 64, train, empty, empty), TrainerConfig(batch_size=2))
    assert sorted(batch[1]) == [0, 1]


def test_plain_settings_are_settings() -> None:
    config = plain(TrainerConfig(dropout=0.5, label_smoothing=0.1, weight_decay=0.1, units=7))
    assert TrainerConfig.model_validate(config.model_dump()) == config
    assert (config.units, config.dropout, config.label_smoothing, config.weight_decay) == (7, 0, 0, 0)
    assert set(PLAIN) <= set(TrainerConfig.model_fields)
