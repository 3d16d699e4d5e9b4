from __future__ import annotations

from pathlib import Path

import pytest
from one_box import box_in, live

from bootstrap.keeper import Keeper
from bootstrap.pace import USABLE_SECONDS, Pace
from bootstrap.sync import status_of
from bootstrap.voice import Voice
from contract.config import Config, load_config


def config(seconds: float, grace: float = 60) -> Config:
    return load_config(None, {"checkpoint_seconds": str(seconds), "grace_seconds": str(grace)})


def test_what_fits_is_no_reason_to_warn_and_the_newest_committed_one_is_never_older_than_promised() -> None:
    assert Pace.of(config(600), 8, USABLE_SECONDS - 8) == Pace(600 - 1 - USABLE_SECONDS)
    assert Pace.of(config(30), 0.2, 0.3) == Pace(28.5)


def test_before_the_first_measurement_a_second_is_assumed() -> None:
    assert Pace.of(config(30), 0, 0) == Pace(28)


@pytest.mark.parametrize(
    ("configured", "save", "upload", "interval", "loss"),
    [
        (600, 10, 120, 469, 600),  # shortened by look + save + upload: the promised loss holds
        (200, 10, 120, 131, 262),  # never shorter than these: the warning names what is lost then
        (30, 10, 120, 30, 292),  # uploads skip checkpoints: no more of them and no fewer
    ],
)
def test_what_does_not_fit_shortens_the_interval(
    configured: float, save: float, upload: float, interval: float, loss: float
) -> None:
    pace = Pace.of(config(configured), save, upload)
    assert pace.interval_seconds == interval
    assert f"every {interval} s" in pace.warning
    assert f"costs up to {loss} s" in pace.warning


def test_a_save_longer_than_its_grace_does_not_fit_either() -> None:
    assert "limits.grace_seconds" in Pace.of(config(600, grace=20), 25, 5).warning


def test_the_trainer_is_asked_the_status_warns_and_it_is_told_once(tmp_path: Path) -> None:
    live(tmp_path, "i-1", checkpoints=1, finish=False)
    box = box_in(tmp_path, "i-1")
    object.__setattr__(box, "config", config(600))
    voice = Voice(box, sleep=lambda _: None)
    keeper = Keeper(box, voice)
    for upload in (120, 140, 5):
        state = box.update(save_seconds=1, upload_seconds=upload)
        keeper._mind_pace(state)
        assert bool(status_of(box, state).warnings) == (upload > 100)
        assert float(box.paths.interval.read_text()) == 598 - upload
    voice.drain()
    keeper.close()
    events = box.store._objects._s3._s3.objects  # type: ignore[attr-defined]
    kinds = [events[key] for key in sorted(events) if box.store.layout.events in key]
    assert sum(b'"warning"' in body for body in kinds) == 1
    assert sum(b'"pace"' in body for body in kinds) == 1


def test_a_sync_measures_what_it_took(tmp_path: Path) -> None:
    live(tmp_path, "i-1", checkpoints=1, finish=False)
    state = box_in(tmp_path, "i-1").load()
    assert 0 < state.upload_seconds < 60
    assert 0 < state.save_seconds < 60
