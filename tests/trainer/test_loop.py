from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from contract.config import TrainerConfig
from contract.errors import TrainerError
from contract.status import Progress
from trainer.batches import Batch
from trainer.checkpoint import Arrays, Checkpoint
from trainer.dataset import Dataset, Split
from trainer.loop import Loop, word_weights
from trainer.normalise import CHANNELS
from trainer.sequences import Sequences
from trainer.state import EpochRow
from trainer.stop import Stopped


class CountingLearner:
    """Stands in for the network: its one weight is the number of steps; losses come from a script."""

    def __init__(self, val_losses: list[float] | None = None, loss: float = 1.0) -> None:
        self.steps = 0
        self.val_losses = val_losses or [1.0] * 1000
        self.loss = loss
        self.rates: list[float] = []
        self.weights_of: dict[int, float] = {}

    def step(self, batch: Batch, learning_rate: float, weights: Any) -> tuple[float, int]:
        self.steps += 1
        self.rates.append(learning_rate)
        self.weights_of.update(zip(batch[1].tolist(), weights.tolist(), strict=True))
        return self.loss * len(batch[1]), 1

    def score(self, batch: Batch) -> tuple[float, Any]:
        return self.val_losses.pop(0) * len(batch[1]), np.zeros(len(batch[1]), np.int32)

    def logits(self, batch: Batch) -> Any:
        """Two of its channels, which tell a sequence of `numbered`."""
        return np.stack([batch[0][:, 0, 1], batch[0][:, 0, 2]], axis=1)

    def state(self) -> Arrays:
        return [np.array(self.steps)]

    def restore(self, state: Arrays) -> None:
        self.steps = int(state[0])

    def weights(self) -> Arrays:
        return self.state()

    def set_weights(self, weights: Arrays) -> None:
        self.restore(weights)


class Attempt:
    """One attempt on ten training sequences, one of them of another word: three steps an epoch, a second each."""

    def __init__(
        self,
        learner: CountingLearner,
        *,
        val: int = 4,
        checkpoint_seconds: float = 1000,
        checkpoint_steps: int = 0,
        asked_seconds: Callable[[], float | None] = lambda: None,
        check_stop: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> None:
        def split(count: int) -> Split:
            features = Sequences.of([np.ones((2, CHANNELS), np.float32)] * count, (CHANNELS,))
            return Split(features, (np.arange(count) == 9).astype(np.int32))

        self.saved: list[Checkpoint] = []
        self.reports: list[Progress] = []
        self.learner = learner
        self.loop = Loop(
            cast(Any, learner),
            Dataset(("tea", "can"), "f" * 64, split(10), split(val), split(0)),
            TrainerConfig.model_validate(
                {"batch_size": 4, "augment": False, "schedule": "constant", "warmup_epochs": 0, **settings}
            ),
            save=self.saved.append,
            report=self.reports.append,
            check_stop=check_stop,
            checkpoint_seconds=checkpoint_seconds,
            checkpoint_steps=checkpoint_steps,
            asked_seconds=asked_seconds,
            clock=lambda: float(learner.steps),
        )


def test_early_stopping_restores_the_best_weights() -> None:
    attempt = Attempt(CountingLearner([3, 1, 2, 2, 9]), epochs=50, patience=2)
    attempt.loop.run()
    assert attempt.loop.state.train_epoch == 4
    assert attempt.loop.state.step == 12
    assert attempt.learner.steps == 6


def test_without_val_the_training_loss_is_watched() -> None:
    attempt = Attempt(CountingLearner(), val=0, epochs=50, patience=2)
    attempt.loop.run()
    assert attempt.loop.state.train_epoch == 3
    assert attempt.loop.state.history[-1].val_loss is None


def test_every_step_is_reported_once() -> None:
    attempt = Attempt(CountingLearner(), epochs=3, patience=50)
    attempt.loop.run()
    assert sorted({report.step for report in attempt.reports}) == list(range(10))
    assert attempt.reports[0].steps == attempt.reports[-1].steps == 9
    assert attempt.reports[-1].train_epoch == attempt.reports[-1].train_epochs == 3
    assert set(attempt.reports[-1].metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_progress_is_complete_after_early_stopping() -> None:
    attempt = Attempt(CountingLearner(), epochs=50, patience=1)
    attempt.loop.run()
    assert attempt.reports[-1].step == attempt.reports[-1].steps == 6


def test_a_checkpoint_every_so_many_seconds_and_at_the_end() -> None:
    attempt = Attempt(CountingLearner(), checkpoint_seconds=4, epochs=3, patience=50)
    attempt.loop.run()
    assert [checkpoint.state.step for checkpoint in attempt.saved] == [4, 8, 9]
    assert attempt.saved[-1].state.ended(attempt.loop.config)
    assert [int(checkpoint.learner[0]) for checkpoint in attempt.saved] == [4, 8, 9]


def test_a_checkpoint_every_so_many_steps_where_that_is_sooner() -> None:
    attempt = Attempt(CountingLearner(), checkpoint_seconds=7, checkpoint_steps=3, epochs=4, patience=50)
    attempt.loop.run()
    assert [checkpoint.state.step for checkpoint in attempt.saved] == [3, 6, 9, 12, 12]


def test_more_checkpoints_can_be_asked_for_meanwhile() -> None:
    asked = iter([2, None, None])
    attempt = Attempt(
        CountingLearner(), checkpoint_seconds=5, asked_seconds=lambda: next(asked, None), epochs=4, patience=50
    )
    attempt.loop.run()
    assert [checkpoint.state.step for checkpoint in attempt.saved] == [5, 7, 12, 12]


@pytest.mark.parametrize("stop_after", range(10))
def test_stopped_anywhere_no_step_is_done_twice(stop_after: int) -> None:
    learner = CountingLearner()

    def check_stop() -> None:
        if learner.steps >= stop_after:
            raise Stopped

    first = Attempt(learner, check_stop=check_stop, epochs=3, patience=50)
    with pytest.raises(Stopped):
        first.loop.run()
    first.loop.save()
    second = Attempt(CountingLearner(), epochs=3, patience=50)
    second.loop.resume(first.saved[-1])
    second.loop.run()
    assert second.loop.state.step == 9
    done = [report.step for report in (*first.reports, *second.reports)]
    assert done == sorted(done)
    assert [row.step for row in second.loop.state.history] == [3, 6, 9]


def test_an_ended_training_does_nothing_more() -> None:
    first = Attempt(CountingLearner([2, 1, 3, 3]), epochs=50, patience=2)
    first.loop.run()
    second = Attempt(CountingLearner(), epochs=50, patience=2)
    second.loop.resume(first.saved[-1])
    second.loop.run()
    assert second.learner.steps == 6
    assert not second.saved


def test_a_saved_checkpoint_does_not_follow_later_steps() -> None:
    attempt = Attempt(CountingLearner(), epochs=1)
    attempt.loop.save()
    attempt.loop.run()
    assert attempt.saved[0].state.step == 0
    assert not attempt.saved[0].state.history


def test_a_diverged_training_says_so() -> None:
    with pytest.raises(TrainerError, match="loss became nan after step 0") as failure:
        Attempt(CountingLearner(loss=float("nan"))).loop.run()
    assert "learning_rate" in failure.value.mend


def test_a_diverged_validation_says_so() -> None:
    with pytest.raises(TrainerError, match="loss became inf"):
        Attempt(CountingLearner([float("inf")])).loop.run()


def test_one_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    Attempt(CountingLearner(), epochs=2).loop.run()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1] == (
        "train_epoch 2/2 step 6 loss 1.0000 accuracy 0.3000 val_loss 1.0000 val_accuracy 1.0000 1.0 steps/s"
    )


def numbered(lengths: tuple[int, ...]) -> Split:
    features = [np.full((length, CHANNELS), number, np.float32) for number, length in enumerate(lengths)]
    return Split(Sequences.of(features, (CHANNELS,)), np.zeros(len(lengths), np.int32))


def test_logits_are_in_the_splits_order() -> None:
    logits = Attempt(CountingLearner()).loop.logits(numbered((9, 2, 7, 1, 5, 3)))
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, np.arange(6)[:, None] * np.ones(2))


def test_logits_stop_when_asked() -> None:
    def check_stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        Attempt(CountingLearner(), check_stop=check_stop).loop.logits(numbered((1, 2)))


def test_step_sizes_follow_the_schedule_through_an_interruption() -> None:
    settings: dict[str, Any] = {"epochs": 4, "patience": 50, "schedule": "cosine", "warmup_epochs": 1}
    whole = Attempt(CountingLearner(), **settings)
    whole.loop.run()
    assert whole.learner.rates[2] == whole.loop.config.learning_rate == max(whole.learner.rates)
    assert len(set(whole.learner.rates)) == 11  # the last of the warm-up and the first of the wave are the same

    learner = CountingLearner()

    def check_stop() -> None:
        if learner.steps >= 5:
            raise Stopped

    first = Attempt(learner, check_stop=check_stop, **settings)
    with pytest.raises(Stopped):
        first.loop.run()
    first.loop.save()
    second = Attempt(CountingLearner(), **settings)
    second.loop.resume(first.saved[-1])
    second.loop.run()
    assert [*first.learner.rates, *second.learner.rates] == whole.learner.rates


def test_balanced_words_count_alike() -> None:
    attempt = Attempt(CountingLearner(), epochs=1, class_weights="balanced")
    attempt.loop.run()
    assert attempt.learner.weights_of == pytest.approx({0: 10 / (2 * 9), 1: 10 / 2})
    targets = attempt.loop.dataset.train.targets
    assert np.mean([attempt.learner.weights_of[target] for target in targets]) == pytest.approx(1)


def test_balanced_words_count_alike_with_the_hands_that_sign_nothing() -> None:
    """Of 5, 25 and 10 clips training meets 0.9, and 4 that were made up besides."""
    targets = np.repeat(np.array([0, 1, 2], np.int32), [5, 25, 10])
    split = Split(Sequences.of([np.ones((1, CHANNELS))] * 40, (CHANNELS,)), targets)
    dataset = Dataset(("_none", "tea", "can"), "f" * 64, split, split, split)
    balanced = TrainerConfig(class_weights="balanced", augment=True, nonsense=0.1)
    weights = word_weights(dataset, balanced)
    assert weights.dtype == np.float32
    assert weights == pytest.approx([40 / (3 * 8.5), 40 / (3 * 22.5), 40 / (3 * 9)])
    as_they_are = pytest.approx([40 / (3 * 5), 40 / (3 * 25), 40 / (3 * 10)])
    for without in ({"augment": False}, {"nonsense": 0.0}):
        assert word_weights(dataset, balanced.model_copy(update=without)) == as_they_are
    assert word_weights(replace(dataset, labels=("milk", "tea", "can")), balanced) == as_they_are


def test_without_class_weights_every_clip_counts_one() -> None:
    attempt = Attempt(CountingLearner(), epochs=1, class_weights="none")
    attempt.loop.run()
    assert attempt.learner.weights_of == {0: 1.0, 1: 1.0}


def test_each_epoch_is_told_once_with_its_pace() -> None:
    told: list[tuple[EpochRow, float]] = []
    attempt = Attempt(CountingLearner(), epochs=3, patience=50)
    attempt.loop.epoch_done = lambda row, pace: told.append((row, pace))
    attempt.loop.run()
    assert [row for row, _ in told] == attempt.loop.state.history
    assert [pace for _, pace in told] == [1.0, 1.0, 1.0]


def test_no_thread_is_left_when_a_step_fails() -> None:
    before = threading.active_count()
    with pytest.raises(TrainerError):
        Attempt(CountingLearner(loss=float("nan"))).loop.run()
    assert threading.active_count() == before
    with pytest.raises(TrainerError):
        Attempt(CountingLearner([float("inf")])).loop.run()
    assert threading.active_count() == before
