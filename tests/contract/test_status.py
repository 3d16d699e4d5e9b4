from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from contract.config import SyncConfig
from contract.status import Health, Phase, Status, is_stale

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status(phase: Phase = Phase.TRAINING, *, checkpoint: float | None = None, since: float | None = None) -> Status:
    def ago(seconds: float | None) -> datetime | None:
        return None if seconds is None else NOW - timedelta(seconds=seconds)

    return Status(run="demo", phase=phase, heartbeat=NOW, checkpoint_time=ago(checkpoint), since=ago(since))


def test_a_fresh_checkpoint_is_not_stale_and_an_old_one_is() -> None:
    assert not is_stale(status(checkpoint=299, since=5000), NOW)
    assert is_stale(status(checkpoint=301, since=5000), NOW)


def test_a_new_attempt_is_given_the_same_time_again() -> None:
    assert not is_stale(status(checkpoint=5000, since=299), NOW)
    assert is_stale(status(checkpoint=None, since=301), NOW)


def test_a_status_that_nobody_writes_any_more_becomes_stale_by_the_readers_clock() -> None:
    written = status(checkpoint=0, since=10)
    assert not is_stale(written, NOW)
    assert is_stale(written, NOW + timedelta(seconds=301))


def test_the_box_says_so_itself() -> None:
    said = status(checkpoint=1).model_copy(update={"health": Health.STALE})
    assert is_stale(said, NOW)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.TRAINING])
def test_only_a_training_run_can_be_stale(phase: Phase) -> None:
    assert not is_stale(status(phase, checkpoint=10_000, since=10_000), NOW)


def test_the_threshold_follows_the_interval_unless_it_is_set() -> None:
    assert SyncConfig().stale_after == 300
    assert SyncConfig(checkpoint_seconds=60).stale_after == 600
    assert SyncConfig(stale_seconds=7).stale_after == 7
