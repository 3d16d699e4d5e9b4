"""Where training stands. Enters: what each step and epoch did. Leaves: the numbers a checkpoint keeps beside arrays."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from contract.config import TrainerConfig


class EpochRow(BaseModel):
    """One line of `history.csv`; the values of val are absent where the dataset has no val split."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    train_epoch: int
    """From 1."""
    step: int
    """Optimiser steps done at its end, from the start of the run."""
    loss: float
    """Mean over the epoch's sequences, with dropout, while the weights changed."""
    accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None

    @property
    def watched(self) -> float:
        """What early stopping compares: the lower the better."""
        return self.loss if self.val_loss is None else self.val_loss

    def metrics(self) -> dict[str, float]:
        values = self.model_dump(include={"loss", "accuracy", "val_loss", "val_accuracy"}, exclude_none=True)
        return {name: float(value) for name, value in values.items()}


class State(BaseModel):
    """Changed after each step and each epoch, and consistent in between: any such moment can be saved."""

    model_config = ConfigDict(allow_inf_nan=False)

    step: int = 0
    """Optimiser steps done, from the start of the run."""
    train_epoch: int = 0
    """Epochs completed."""
    step_in_epoch: int = 0
    """Batches done of the epoch under way."""
    loss_sum: float = 0.0
    """Of the epoch under way, like the two below."""
    correct: int = 0
    sequences: int = 0
    epochs_without_better: int = 0
    history: list[EpochRow] = Field(default_factory=list)

    def ended(self, config: TrainerConfig) -> bool:
        return self.train_epoch >= config.epochs or self.epochs_without_better >= config.patience

    @property
    def best(self) -> EpochRow | None:
        """The first of the epochs with the lowest watched loss."""
        return min(self.history, key=lambda row: row.watched, default=None)

    def add_step(self, loss_sum: float, correct: int, sequences: int) -> None:
        self.step += 1
        self.step_in_epoch += 1
        self.loss_sum += loss_sum
        self.correct += correct
        self.sequences += sequences

    def add_epoch(self, val_loss: float | None, val_accuracy: float | None) -> bool:
        """Close the epoch under way. Returns whether it is the best so far."""
        row = EpochRow(
            train_epoch=self.train_epoch + 1,
            step=self.step,
            loss=self.loss_sum / self.sequences,
            accuracy=self.correct / self.sequences,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
        )
        better = self.best is None or row.watched < self.best.watched
        self.history.append(row)
        self.train_epoch += 1
        self.step_in_epoch, self.loss_sum, self.correct, self.sequences = 0, 0.0, 0, 0
        self.epochs_without_better = 0 if better else self.epochs_without_better + 1
        return better
