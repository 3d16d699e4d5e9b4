"""The training loop. Enters: learner, dataset, settings and, when resuming, a checkpoint. Leaves: a trained learner.

Between two steps everything that a later attempt needs is in `state`, the learner and `best`;
whatever moment an attempt ends at, the next one goes on from the last checkpoint as if there
had been only one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contract.config import TrainerConfig
from contract.errors import TrainerError
from contract.status import Progress
from trainer.ahead import ahead
from trainer.batches import Batch, Indices, epoch_order, evaluation_order, make_batch, make_varied_batch
from trainer.checkpoint import Arrays, Checkpoint, Origin
from trainer.dataset import Dataset, Split
from trainer.nonsense import NOTHING
from trainer.say import say
from trainer.schedule import learning_rate
from trainer.state import EpochRow, State

if TYPE_CHECKING:
    from trainer.learner import Learner


class Loop:
    def __init__(
        self,
        learner: Learner,
        dataset: Dataset,
        config: TrainerConfig,
        *,
        save: Callable[[Checkpoint], None],
        report: Callable[[Progress], None],
        check_stop: Callable[[], None],
        checkpoint_seconds: float,
        checkpoint_steps: int = 0,
        asked_seconds: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`save` and `report` are told often; `check_stop` raises when training should end now.

        A checkpoint is due after `checkpoint_seconds` (or what `asked_seconds` says, looked up after each) and
        after `checkpoint_steps`, whichever comes sooner; 0 steps: only seconds count.
        """
        self.learner = learner
        self.dataset = dataset
        self.config = config
        self.state = State()
        self.best: Arrays = []
        self.epoch_done: Callable[[EpochRow, float], None] = lambda _row, _steps_per_second: None
        """Told of each epoch at its end."""
        self._origin = Origin.of(dataset, config)
        self._save = save
        self._report = report
        self._check_stop = check_stop
        self._configured_seconds = self._checkpoint_seconds = checkpoint_seconds
        self._checkpoint_steps = checkpoint_steps
        self._asked_seconds = asked_seconds
        self._weights = word_weights(dataset, config)
        self._clock = clock
        self._saved_at = self._printed_at = clock()
        self._saved_step = self._printed_step = 0

    def resume(self, checkpoint: Checkpoint) -> None:
        self.learner.restore(checkpoint.learner)
        self.state = checkpoint.state
        self.best = checkpoint.best
        self._saved_step = self._printed_step = self.state.step

    def run(self) -> None:
        """Train until the end, save that, and leave the learner with its best weights.

        Raises:
            TrainerError: the loss is no number any more.
            Stopped: from `check_stop`; everything up to the last step can be saved.
        """
        self._report_progress()
        if not self.state.ended(self.config):
            while not self.state.ended(self.config):
                self._train_epoch()
                self._finish_epoch()
            self.save()
        self.learner.set_weights(self.best)

    def save(self) -> None:
        """Hand out a checkpoint that later steps leave alone."""
        self._saved_at, self._saved_step = self._clock(), self.state.step
        self._checkpoint_seconds = self._asked_seconds() or self._configured_seconds
        self._save(Checkpoint(self._origin, self.state.model_copy(deep=True), self.learner.state(), self.best))

    def plan(self) -> int:
        """Optimiser steps of the whole run as planned now."""
        if self.state.ended(self.config):
            return self.state.step
        return self.config.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.dataset.train) / self.config.batch_size)

    def score(self, split: Split) -> tuple[float, NDArray[np.int32]]:
        """Mean loss over a split and the answer to each of its sequences."""
        loss_sum, answers = 0.0, np.zeros(len(split), np.int32)
        with closing(self._evaluated(split)) as batches:
            for indices, batch in batches:
                loss, answers[indices] = self.learner.score(batch)
                self._check_finite(loss)
                loss_sum += loss
        return loss_sum / len(split), answers

    def logits(self, split: Split) -> NDArray[np.float32]:
        """What the softmax gets for each sequence of a split, in the split's order: (len(split), words)."""
        logits = np.zeros((len(split), len(self.dataset.labels)), np.float32)
        with closing(self._evaluated(split)) as batches:
            for indices, batch in batches:
                logits[indices] = self.learner.logits(batch)
        return logits

    def _evaluated(self, split: Split) -> Generator[tuple[Indices, Batch]]:
        order = evaluation_order(split, self.config.batch_size)
        with ahead(partial(make_batch, split), order) as batches:
            for indices, batch in zip(order, batches, strict=True):
                self._check_stop()
                yield indices, batch

    def _train_epoch(self) -> None:
        state, config, train = self.state, self.config, self.dataset.train
        seed, train_epoch = config.seed, state.train_epoch
        order = epoch_order(train, config.batch_size, seed=seed, train_epoch=train_epoch)
        make = partial(make_batch, train)
        if config.augment:
            make = partial(
                make_varied_batch,
                train,
                seed=seed,
                train_epoch=train_epoch,
                nothing=self.dataset.labels.index(NOTHING) if NOTHING in self.dataset.labels else None,
                share=config.nonsense,
            )
        with ahead(make, order[state.step_in_epoch :]) as batches:
            for batch in batches:
                self._check_stop()
                rate = learning_rate(config, state.step + 1, self.steps_per_epoch)
                loss_sum, correct = self.learner.step(batch, rate, self._weights[batch[1]])
                self._check_finite(loss_sum)
                state.add_step(loss_sum, correct, len(batch[1]))
                self._report_progress()
                if self._is_due():
                    self.save()

    def _is_due(self) -> bool:
        if self._clock() - self._saved_at >= self._checkpoint_seconds:
            return True
        return 0 < self._checkpoint_steps <= self.state.step - self._saved_step

    def _finish_epoch(self) -> None:
        val = self.dataset.val
        val_loss = val_accuracy = None
        if len(val):
            val_loss, answers = self.score(val)
            val_accuracy = float((answers == val.targets).mean())
        if self.state.add_epoch(val_loss, val_accuracy):
            self.best = self.learner.weights()
        self._report_progress()
        self._tell_epoch()

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainerError(
                f"the loss became {loss} after step {self.state.step}",
                mend=f"start a new run with a lower trainer.learning_rate than {self.config.learning_rate:g}",
            )

    def _report_progress(self) -> None:
        state = self.state
        metrics = state.history[-1].metrics() if state.history else {}
        if state.sequences:
            metrics |= {"loss": state.loss_sum / state.sequences, "accuracy": state.correct / state.sequences}
        self._report(
            Progress(
                step=state.step,
                steps=self.plan(),
                earliest_end=self._earliest_end(),
                train_epoch=state.train_epoch,
                train_epochs=self.config.epochs,
                metrics=metrics,
            )
        )

    def _earliest_end(self) -> int:
        """The step at which training ends if no further epoch is better than the best so far."""
        best = self.state.train_epoch - self.state.epochs_without_better
        return min(self.plan(), (best + self.config.patience) * self.plan() // self.config.epochs)

    def _tell_epoch(self) -> None:
        now = self._clock()
        rate = (self.state.step - self._printed_step) / max(now - self._printed_at, 1e-9)
        self._printed_at, self._printed_step = now, self.state.step
        values = " ".join(f"{name} {value:.4f}" for name, value in self.state.history[-1].metrics().items())
        epochs = f"train_epoch {self.state.train_epoch}/{self.config.epochs}"
        say(f"{epochs} step {self.state.step} {values} {rate:.1f} steps/s")
        self.epoch_done(self.state.history[-1], rate)


def word_weights(dataset: Dataset, config: TrainerConfig) -> NDArray[np.float32]:
    """How much a training sequence of each word counts; the mean over the sequences is 1.

    balanced, as scikit-learn has it: n / (words × n of the word),
    https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html
    Counted is what training meets: of every word the share `nonsense` has become `NOTHING`.
    """
    words = len(dataset.labels)
    if config.class_weights == "none":
        return np.ones(words, np.float32)
    counts = np.bincount(dataset.train.targets, minlength=words).astype(np.float64)
    if config.augment and NOTHING in dataset.labels:
        counts *= 1 - config.nonsense
        counts[dataset.labels.index(NOTHING)] += config.nonsense * len(dataset.train)
    return (len(dataset.train) / (words * counts)).astype(np.float32)
