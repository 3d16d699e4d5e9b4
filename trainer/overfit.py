"""Can it learn at all? Enters: a dataset. Leaves: whether a model learns one batch of it by heart, in words.

A model that cannot has a fault in its data or settings, which this finds in a minute rather than in an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from contract.config import TrainerConfig
from trainer.batches import Batch, epoch_order, make_batch
from trainer.dataset import Dataset
from trainer.say import say

if TYPE_CHECKING:
    from trainer.learner import Learner

LOSS = 0.05
"""Mean cross-entropy below which a batch is known by heart: 95 % sure of each of its clips."""
STEPS = 500
EVERY = 20
"""Steps between two lines."""

PLAIN = {"dropout": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0}
"""Without whatever in a learner keeps it from learning by heart; a loop, with what that does, there is none."""


def plain(config: TrainerConfig) -> TrainerConfig:
    return config.model_copy(update=PLAIN)


def one_batch(dataset: Dataset, config: TrainerConfig) -> Batch:
    """Of the batches of the first epoch the one with the most words."""
    order = epoch_order(dataset.train, config.batch_size, seed=config.seed, train_epoch=0)
    return make_batch(dataset.train, max(order, key=lambda indices: len(set(dataset.train.targets[indices]))))


def overfit(learner: Learner, batch: Batch, config: TrainerConfig, check_stop: Callable[[], None]) -> bool:
    """Train on `batch` alone until its loss is below `LOSS`, for `STEPS` steps at most; say and return whether it is.

    Raises:
        Stopped: from `check_stop`.
    """
    size, words = len(batch[1]), len(set(batch[1].tolist()))
    say(f"one batch of {size} clips of {words} words, again and again, until its loss is below {LOSS}")
    weights = np.ones(size, np.float32)
    for step in range(STEPS + 1):
        check_stop()
        loss_sum, right = learner.step(batch, config.learning_rate, weights)
        loss = loss_sum / size
        if step % EVERY == 0 or loss < LOSS or step == STEPS:
            say(f"step {step} loss {loss:.4f}, {right} of {size} right")
        if loss < LOSS:
            say("it works: the model learns these clips by heart, so data and settings hold together")
            return True
    say(
        f"it does NOT work: after {STEPS} steps the loss is {loss:.4f}. Look at the clips (signspot extract "
        "--preview), at the labels (signspot dataset), or set another trainer.learning_rate or more trainer.units"
    )
    return False
