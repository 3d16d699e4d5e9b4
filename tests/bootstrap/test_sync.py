from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from bootstrap.state import Box, State
from bootstrap.sync import sync
from contract.errors import StaleLease
from contract.status import Phase

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def training(box: Box) -> Box:
    """It has taken the run over and restored nothing."""
    box.save(State(lease=box.store.take_lease(box.instance, NOW), phase=Phase.TRAINING, synced=()))
    return box


def requests(s3: Any, box: Box) -> list[str]:
    """What the box's S3 is asked from now on."""
    asked: list[str] = []
    box.store._objects._s3.meta.events.register(
        "before-send.s3", lambda request, **_: asked.append(f"{request.method} {request.url.rpartition('/')[2]}")
    )
    return asked


def test_a_sync_with_nothing_new_is_two_requests(s3: Any, make_box: Callable[..., Box]) -> None:
    box = training(make_box("i-1"))
    (box.paths.checkpoints / "step-1.ckpt").write_bytes(b"weights")
    sync(box)
    asked = requests(s3, box)
    sync(box)
    sync(box)
    assert asked == ["GET lease.json", "PUT status.json"] * 2


def test_a_stale_box_with_nothing_new_hears_of_it(s3: Any, make_box: Callable[..., Box]) -> None:
    box, heir = training(make_box("i-1")), make_box("i-2")
    sync(box)
    training(heir)
    with pytest.raises(StaleLease):
        sync(box)
    status = sync(heir) and heir.store.read_status()
    assert status
    assert status.instance == "i-2"
