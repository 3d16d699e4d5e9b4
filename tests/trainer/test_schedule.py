from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.config import TrainerConfig
from trainer.schedule import learning_rate


def rates(steps_per_epoch: int = 4, **values: object) -> list[float]:
    config = TrainerConfig.model_validate({"learning_rate": 0.1, "warmup_epochs": 0, **values})
    return [learning_rate(config, step, steps_per_epoch) for step in range(1, config.epochs * steps_per_epoch + 1)]


def test_constant_is_constant() -> None:
    assert rates(schedule="constant", epochs=3) == [0.1] * 12


def test_warm_up_grows_to_the_whole_and_stays() -> None:
    assert rates(schedule="constant", epochs=3, warmup_epochs=2) == pytest.approx(
        [0.1 * step / 8 for step in range(1, 9)] + [0.1] * 4
    )


def test_cosine_begins_whole_is_half_in_the_middle_and_ends_near_nothing() -> None:
    wave = rates(schedule="cosine", epochs=25)
    assert wave[0] == 0.1
    assert wave[50] == pytest.approx(0.05)
    assert 0 < wave[-1] < 1e-4
    assert wave == sorted(wave, reverse=True)


@settings(deadline=None)
@given(
    st.sampled_from(["constant", "cosine"]),
    st.integers(1, 20),
    st.integers(1, 9),
    st.floats(0, 30),
    st.floats(1e-6, 1),
)
def test_every_step_has_a_size(
    schedule: str, epochs: int, steps_per_epoch: int, warmup_epochs: float, size: float
) -> None:
    found = rates(steps_per_epoch, schedule=schedule, epochs=epochs, warmup_epochs=warmup_epochs, learning_rate=size)
    assert all(0 < rate <= size for rate in found)
