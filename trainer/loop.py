"""The training loop. Enters: learner, dataset, settings and, when resuming, a checkpoint. Leaves: a trained learner.

Between two steps everything that a later attempt needs is in `state`, the learner and `best`;
whatever moment an attempt ends at, the next one goes on from the last checkpoint as if there
had been only one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contract.config import TrainerConfig
from contract.errors import TrainerError
from contract.status import Progress
from trainer.batches import epoch_order, in_order, make_batch
from trainer.checkpoint import Arrays, Checkpoint, Origin
from trainer.dataset import Dataset, Split
from trainer.say import say
from trainer.state import State

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
        self._origin = Origin.of(dataset, config)
        self._save = save
        self._report = report
        self._check_stop = check_stop
        self._configured_seconds = self._checkpoint_seconds = checkpoint_seconds
        self._checkpoint_steps = checkpoint_steps
        self._asked_seconds = asked_seconds
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
        return self.config.epochs * math.ceil(len(self.dataset.train) / self.config.batch_size)

    def score(self, split: Split) -> tuple[float, NDArray[np.int32]]:
        """Mean loss over a split and the answer to each of its sequences."""
        loss_sum, answers = 0.0, np.zeros(len(split), np.int32)
        for indices, batch in in_order(split, self.config.batch_size):
            self._check_stop()
            loss, answers[indices] = self.learner.score(batch)
            self._check_finite(loss)
            loss_sum += loss
        return loss_sum / len(split), answers

    def logits(self, split: Split) -> NDArray[np.float32]:
        """What the softmax gets for each sequence of a split, in the split's order: (len(split), words)."""
        logits = np.zeros((len(split), len(self.dataset.labels)), np.float32)
        for indices, batch in in_order(split, self.config.batch_size):
            self._check_stop()
            logits[indices] = self.learner.logits(batch)
        return logits

    def _train_epoch(self) -> None:
        state, train = self.state, self.dataset.train
        order = epoch_order(train, self.config.batch_size, seed=self.config.seed, train_epoch=state.train_epoch)
        for indices in order[state.step_in_epoch :]:
            self._check_stop()
            loss_sum, correct = self.learner.step(make_batch(train, indices))
            self._check_finite(loss_sum)
            state.add_step(loss_sum, correct, len(indices))
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
        self._print_epoch()

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

    def _print_epoch(self) -> None:
        now = self._clock()
        rate = (self.state.step - self._printed_step) / max(now - self._printed_at, 1e-9)
        self._printed_at, self._printed_step = now, self.state.step
        values = " ".join(f"{name} {value:.4f}" for name, value in self.state.history[-1].metrics().items())
        epochs = f"train_epoch {self.state.train_epoch}/{self.config.epochs}"
        say(f"{epochs} step {self.state.step} {values} {rate:.1f} steps/s")
