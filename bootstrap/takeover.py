"""A box becomes the run's owner. Enters: what S3 knows of the run. Leaves: this box's state, the checkpoint on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from bootstrap.metadata import Metadata
from bootstrap.snapshot import fingerprint_of
from bootstrap.state import Box, State
from bootstrap.sync import status_of
from contract.errors import CloudError
from contract.status import Manifest, Phase, Status

log = logging.getLogger(__name__)


def take_over(box: Box, metadata: Metadata, previous: Status | None) -> State:
    """Take the lease and say so in `status.json`.

    Raises:
        StorageError: S3 cannot be read or written; taking over again is harmless.
    """
    lease = box.store.take_lease(box.instance, datetime.now(UTC))
    fruitless = 0
    if previous is not None:
        advanced = previous.checkpoint_step > previous.restored_step
        counted = 0 if previous.phase is Phase.INTERRUPTED else 1
        fruitless = 0 if advanced else previous.fruitless_attempts + counted
    state = State(
        lease=lease,
        attempts=previous.attempts + 1 if previous else 1,
        fruitless_attempts=fruitless,
        since=datetime.now(UTC),
        instance_type=fact(metadata, "instance-type"),
        zone=fact(metadata, "placement/availability-zone"),
        restored_step=previous.checkpoint_step if previous else 0,
        checkpoint_step=previous.checkpoint_step if previous else 0,
    )
    with box.lock():
        box.save(state)
    box.store.write_status(status_of(box, state), lease)
    return state


def fact(metadata: Metadata, path: str) -> str:
    """For people only: a metadata service in trouble is no reason not to train."""
    try:
        return metadata.get(path) or ""
    except CloudError:
        return ""


def restore(box: Box, warn: Callable[[str], None]) -> Manifest | None:
    """The newest checkpoint that verifies into SM_CHECKPOINT_DIR; `warn` is told of those that did not.

    Raises:
        StorageError: S3 cannot be read, or checkpoints exist and none verifies.
    """
    directory = box.paths.checkpoints
    directory.mkdir(parents=True, exist_ok=True)
    manifest, complaints = box.store.restore(directory)
    for complaint in complaints:
        warn(complaint)
    lease = box.load().lease
    if manifest:
        box.store.settle(manifest.id, lease)
    for checkpoint in box.store.clear_unfinished(lease):
        log.info("cleared the unfinished checkpoint %s", checkpoint)
    box.update(
        synced=fingerprint_of(directory),
        restored_step=manifest.step if manifest else 0,
        checkpoint=manifest.id if manifest else "",
        checkpoint_step=manifest.step if manifest else 0,
        checkpoint_time=manifest.time if manifest else None,
    )
    return manifest
