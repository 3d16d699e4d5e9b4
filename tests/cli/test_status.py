from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from cli.status import exit_code, read_status, show
from contract.errors import StorageError
from contract.status import Health, Phase, Progress, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAINING = Status(
    run="demo",
    phase=Phase.TRAINING,
    instance="i-1",
    heartbeat=NOW,
    since=NOW,
    checkpoint_time=NOW,
    progress=Progress(step=7, steps=70, metrics={"loss": 0.5}),
)


def shown(status: Status, now: datetime = NOW) -> str:
    text = io.StringIO()
    show(status, now, Console(file=text, width=200))
    return text.getvalue()


def test_a_run_without_a_status_is_pending(s3: Any) -> None:
    assert read_status(s3, "bucket", "demo").phase is Phase.PENDING


def test_what_the_box_wrote_is_read(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="runs/demo/status.json", Body=TRAINING.model_dump_json())
    assert read_status(s3, "bucket", "demo") == TRAINING


def test_what_is_no_status_is_an_error(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="runs/demo/status.json", Body=b"<html>")
    with pytest.raises(StorageError, match="cannot be read"):
        read_status(s3, "bucket", "demo")


@pytest.mark.parametrize(
    ("status", "later", "code"),
    [
        (TRAINING, 10, 0),
        (TRAINING, 301, 4),
        (TRAINING.model_copy(update={"health": Health.STALE, "health_reason": "AccessDenied"}), 1, 4),
        (TRAINING.model_copy(update={"phase": Phase.DONE}), 10_000, 0),
        (TRAINING.model_copy(update={"phase": Phase.FAILED, "reason": "no data"}), 10, 6),
    ],
)
def test_the_exit_code_says_whether_all_is_well(status: Status, later: int, code: int) -> None:
    now = NOW + timedelta(seconds=later)
    assert exit_code(status, now) == code
    assert ("stale" in shown(status, now)) == (code == 4)


def test_a_person_sees_step_loss_checkpoint_and_reason() -> None:
    text = shown(TRAINING.model_copy(update={"reason": "resumed", "warnings": ("too slow for a notice",)}))
    for word in ("demo", "training: resumed", "7 of 70", "loss 0.5000", "0 s ago", "too slow for a notice"):
        assert word in text
