"""One idempotent command: whatever is new on this box is in S3 when it ends.

Enters: the checkpoint directory, the logs, the trainer's progress. Leaves: a committed checkpoint when there is
a new one, log chunks, `status.json`. Cron runs it every minute (`python -m bootstrap.sync`), the agent whenever a
checkpoint appears, on a notice and at the end. A second one meanwhile waits for the first.
"""

from __future__ import annotations

import gc
import os

if __name__ == "__main__":  # before the imports, which are most of what there is to do when nothing is new
    gc.disable()  # what they make stays, and would be looked through for garbage again and again
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # or it reads what every package says of itself

import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from bootstrap.gpu import usage_of
from bootstrap.objects import disk_errors
from bootstrap.pace import Pace
from bootstrap.snapshot import fingerprint_of, flush_seconds, snapshot, step_of
from bootstrap.state import Box, State
from contract.errors import SignspotError, StaleLease, StorageError
from contract.status import Event, Health, Phase, Progress, Status

log = logging.getLogger(__name__)

LOG_CHUNK_BYTES = 8 << 20
BEST_METRIC = "val_loss"
"""What the best checkpoint has least of."""


def sync(box: Box) -> State:
    """Bring S3 up to date; returns the state after it.

    Logs and status are written even when the checkpoint cannot be: the error is raised at the end.

    Raises:
        StaleLease: another instance owns the run; nothing was written.
        StorageError: something is not in S3 yet; the next sync tries again.
    """
    with box.lock():
        trouble: StorageError | None = None
        try:
            before = box.load()
            box.store.assert_lease(before.lease)
            for part in (_sync_checkpoint, _sync_logs):
                try:
                    with disk_errors("read what is to be synced"):
                        box.save(part(box, box.load()))
                except StaleLease:
                    raise
                except StorageError as error:
                    trouble = trouble or error
            state = box.load().model_copy(update={"trouble": str(trouble or "")})
            etag = box.store.write_status(status_of(box, state), state.lease, before.status_etag)
            state = box.save(state.model_copy(update={"status_etag": etag}))
        except StaleLease:
            raise
        except StorageError as error:
            box.save(box.load().model_copy(update={"trouble": str(error)}))
            raise
        if trouble:
            raise trouble
        return state


def _sync_checkpoint(box: Box, state: State) -> State:
    directory = box.paths.checkpoints
    fingerprint = fingerprint_of(directory)
    if state.synced is None or fingerprint in (state.synced, ()):
        return state
    flushed = flush_seconds(directory, fingerprint)
    metric = read_progress(box.paths.progress).metrics.get(BEST_METRIC)
    began = time.monotonic()
    with snapshot(directory, box.paths.state / "staging") as files:
        step = step_of(files.fingerprint) or state.checkpoint_step + 1
        manifest = box.store.commit_checkpoint(files, step, state.lease, box.config.sync.keep_checkpoints, metric)
        now = time.monotonic()
        return state.model_copy(
            update={
                "synced": files.fingerprint,
                "checkpoint": manifest.id,
                "checkpoint_step": step,
                "checkpoint_time": manifest.time,
                "fresh_at": now,
                "save_seconds": flushed + files.read_seconds,
                "upload_seconds": now - began,
            }
        )


def stale_reason(box: Box, state: State) -> str:
    """Why no checkpoint has been verified for too long, or nothing; by a clock that nobody sets."""
    age = time.monotonic() - state.fresh_at
    if state.phase is not Phase.TRAINING or age <= box.config.sync.stale_after:
        return ""
    why = state.trouble or "the trainer has written no new checkpoint"
    return f"no checkpoint has been verified in S3 for {age:.0f} s: {why}"


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
    stale, slow = stale_reason(box, state), Pace.of(box.config, state.save_seconds, state.upload_seconds).warning
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
        usage=usage_of(box.paths.usage),
        restored_step=state.restored_step,
        checkpoint=state.checkpoint,
        checkpoint_step=state.checkpoint_step,
        checkpoint_time=state.checkpoint_time,
        reason=state.reason,
        since=state.since,
        health=Health.STALE if stale else Health.OK,
        stale_after=box.config.sync.stale_after,
        health_reason=stale,
        trouble=state.trouble,
        cut_off=state.cut_off,
        warnings=(slow,) if slow else (),
    )


def read_progress(path: Path) -> Progress:
    """What the trainer last said of itself; a trainer that says nothing, or nonsense, is at step 0."""
    try:
        return Progress.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Progress()


def event_of(box: Box, kind: str, message: str, *, step: int | None = None, seconds: float | None = None) -> Event:
    """An event for the timeline, at the run's step unless another is given."""
    state = box.load()
    return Event(
        time=datetime.now(UTC),
        kind=kind,
        instance=box.instance,
        epoch=state.lease.epoch,
        step=max(read_progress(box.paths.progress).step, state.restored_step) if step is None else step,
        message=message,
        seconds=seconds,
    )


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
    code = main()
    gc.freeze()  # or Python looks for garbage once more as it ends
    sys.exit(code)
