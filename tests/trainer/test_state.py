from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.config import TrainerConfig
from trainer.state import State

losses = st.floats(0, 1e6)


def after(val_losses: list[float | None], *, loss: float = 1.0) -> State:
    state = State()
    for val_loss in val_losses:
        state.add_step(loss * 4, 2, 4)
        state.add_epoch(val_loss, None if val_loss is None else 0.5)
    return state


@given(st.lists(losses, max_size=12))
def test_json_keeps_every_bit(val_losses: list[float]) -> None:
    state = after(list(val_losses))
    state.add_step(1 / 3, 1, 3)
    assert State.model_validate_json(state.model_dump_json()) == state


def test_ends_after_patience_epochs_without_a_better_one() -> None:
    config = TrainerConfig(patience=2)
    assert not after([3, 1, 2]).ended(config)
    assert after([3, 1, 2, 1]).ended(config)


def test_ends_after_the_last_epoch() -> None:
    assert after([3, 2]).ended(TrainerConfig(epochs=2))


def test_best_is_the_first_of_equals() -> None:
    best = after([3, 1, 1]).best
    assert best is not None
    assert best.train_epoch == 2


def test_training_loss_is_watched_without_val() -> None:
    state = after([None])
    assert state.history[0].watched == 1.0
    assert state.history[0].metrics() == {"loss": 1.0, "accuracy": 0.5}


def test_an_epoch_starts_counting_from_zero() -> None:
    state = after([1])
    assert (state.step, state.train_epoch, state.step_in_epoch, state.sequences) == (1, 1, 0, 0)
    assert state.loss_sum == state.correct == 0


def test_no_number_is_no_loss() -> None:
    with pytest.raises(ValueError, match="finite"):
        after([float("nan")])
