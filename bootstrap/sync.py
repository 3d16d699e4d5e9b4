"""One idempotent command: whatever is new on this box is in S3 when it ends.

Enters: the checkpoint directory, the logs, the trainer's progress. Leaves: a committed checkpoint when there is
a new one, log chunks, `status.json`. Cron runs it every minute (`python -m bootstrap.sync`), the agent whenever a
checkpoint appears, on a notice and at the end. A second one meanwhile waits for the first.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from bootstrap.snapshot import fingerprint_of, snapshot, step_of
from bootstrap.state import Box, State
from contract.errors import SignspotError, StorageError
from contract.status import Event, Progress, Status

log = logging.getLogger(__name__)

LOG_CHUNK_BYTES = 8 << 20


def sync(box: Box) -> State:
    """Bring S3 up to date; returns the state after it.

    Logs and status are written even when the checkpoint cannot be: the error is raised at the end.

    Raises:
        StaleLease: another instance owns the run; nothing was written.
        StorageError: something is not in S3 yet; the next sync tries again.
    """
    with box.lock():
        state = box.load()
        box.store.assert_lease(state.lease)
        trouble: StorageError | None = None
        try:
            state = box.save(_sync_checkpoint(box, state))
        except StorageError as error:
            trouble = error
        state = box.save(_sync_logs(box, state))
        box.store.write_status(status_of(box, state))
        if trouble:
            raise trouble
        return state


def _sync_checkpoint(box: Box, state: State) -> State:
    directory = box.paths.checkpoints
    if fingerprint_of(directory) in (state.synced, ()):
        return state
    with snapshot(directory, box.paths.state / "staging") as files:
        step = step_of(files.fingerprint) or state.checkpoint_step + 1
        manifest = box.store.commit_checkpoint(files, step, state.lease, box.config.sync.keep_checkpoints)
        return state.model_copy(
            update={
                "synced": files.fingerprint,
                "checkpoint": manifest.id,
                "checkpoint_step": step,
                "checkpoint_time": manifest.time,
            }
        )


def _sync_logs(box: Box, state: State) -> State:
    boot = box.paths.logs / "boot.log"
    written = boot.stat().st_size if boot.exists() else 0
    if written != state.boot_log_bytes:  # one object: user data's trap writes it too, whole
        box.store.put_log(box.instance, "boot", 0, boot.read_bytes())
    offset = state.trainer_log_bytes
    trainer = box.paths.logs / "trainer.log"
    if trainer.exists():
        with trainer.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(LOG_CHUNK_BYTES):
                box.store.put_log(box.instance, "trainer", offset, chunk)
                offset += len(chunk)
    return state.model_copy(update={"boot_log_bytes": written, "trainer_log_bytes": offset})


def status_of(box: Box, state: State) -> Status:
    return Status(
        run=box.config.run.name,
        phase=state.phase,
        instance=box.instance,
        instance_type=state.instance_type,
        zone=state.zone,
        epoch=state.lease.epoch,
        attempts=state.attempts,
        fruitless_attempts=state.fruitless_attempts,
        heartbeat=datetime.now(UTC),
        progress=read_progress(box.paths.progress),
        restored_step=state.restored_step,
        checkpoint=state.checkpoint,
        checkpoint_step=state.checkpoint_step,
        checkpoint_time=state.checkpoint_time,
        reason=state.reason,
    )


def read_progress(path: Path) -> Progress:
    """What the trainer last said of itself; a trainer that says nothing, or nonsense, is at step 0."""
    try:
        return Progress.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Progress()


def tell(box: Box, kind: str, message: str, *, step: int | None = None, seconds: float | None = None) -> None:
    """An event for the timeline, at the run's step unless another is given; never worth failing for."""
    state = box.load()
    event = Event(
        time=datetime.now(UTC),
        kind=kind,
        instance=box.instance,
        epoch=state.lease.epoch,
        step=max(read_progress(box.paths.progress).step, state.restored_step) if step is None else step,
        message=message,
        seconds=seconds,
    )
    log.info("%s: %s", kind, message)
    try:
        box.store.add_event(event)
    except StorageError as error:
        log.warning("%s", error)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        state = sync(Box.from_environment(os.environ))
    except SignspotError as error:
        log.error("%s", error)
        return error.exit_code
    log.info("in S3: checkpoint %s, %d bytes of log", state.checkpoint or "none yet", state.trainer_log_bytes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
