"""Keeps S3 up to date while the trainer runs. Enters: a box, looked after every second. Leaves: syncs, warnings.

Syncs run in a thread of their own: a slow upload must not keep the agent from hearing a notice. What they
say about the run's health is turned into events here, once per episode.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

from bootstrap.pace import Pace
from bootstrap.snapshot import fingerprint_of
from bootstrap.state import Box, State
from bootstrap.sync import stale_reason, sync
from bootstrap.voice import Voice
from contract.errors import StaleLease, StorageError

log = logging.getLogger(__name__)

SLOWEST_RETRY_SECONDS = 60.0


class Keeper:
    def __init__(self, box: Box, voice: Voice) -> None:
        self._box = box
        self._voice = voice
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._running: Future[State] | None = None
        self._began = float("-inf")
        self._failures = 0
        self._stale = False
        self._pace = Pace.of(box.config, 0, 0)

    def look(self) -> None:
        """Start a sync when one is due; tell what the last one means.

        Raises:
            StaleLease: another instance owns the run.
        """
        self._collect()
        state = self._box.load()
        self._mind_health(state)
        self._mind_pace(state)
        if self._running is None and self._is_due(state):
            self._began = time.monotonic()
            self._running = self._thread.submit(sync, self._box)

    def hurry(self) -> None:
        """Let the next look sync, whatever the time."""
        self._began = float("-inf")

    def finish(self) -> None:
        """Wait for the sync under way; whatever it says, the next one says again."""
        if self._running:
            self._running.exception()
            self._running = None

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _collect(self) -> None:
        if not self._running or not self._running.done():
            return
        error = self._running.exception()
        self._running = None
        self._failures = self._failures + 1 if error else 0
        if isinstance(error, StaleLease):
            raise error
        if error:  # whatever it is, it is no reason to stop training: `stalled sync` tells when it lasts
            log.warning("sync: %s", error, exc_info=None if isinstance(error, StorageError) else error)

    def _is_due(self, state: State) -> bool:
        elapsed = time.monotonic() - self._began
        if self._failures and elapsed < min(2.0 ** (self._failures - 1), SLOWEST_RETRY_SECONDS):
            return False
        new = fingerprint_of(self._box.paths.checkpoints) != state.synced
        return new or elapsed >= self._box.config.sync.heartbeat_seconds

    def _mind_health(self, state: State) -> None:
        reason = stale_reason(self._box, state)
        if bool(reason) == self._stale:
            return
        self._stale = bool(reason)
        if reason:
            self._voice.tell("stalled sync", reason)
            self._voice.publish("stalled sync", reason)
        else:
            self._voice.tell("sync healed", f"checkpoint {state.checkpoint} is verified in S3")
            self._voice.publish("sync healed", f"step {state.checkpoint_step} is safe")

    def _mind_pace(self, state: State) -> None:
        pace = Pace.of(self._box.config, state.save_seconds, state.upload_seconds)
        before, self._pace = self._pace, pace
        if pace.warning and not before.warning:
            self._voice.tell("warning", pace.warning)
        if pace.interval_seconds != before.interval_seconds:
            self._ask_for(pace.interval_seconds)
        if before.warning and not pace.warning:
            self._voice.tell("pace", "a checkpoint fits into a notice again")

    def _ask_for(self, seconds: float) -> None:
        """The trainer reads this after each checkpoint; one that does not keeps its own pace."""
        temporary = self._box.paths.interval.with_name(".interval")
        try:
            temporary.write_text(f"{seconds:g}\n")
            temporary.replace(self._box.paths.interval)
        except OSError as error:
            log.warning("the trainer cannot be asked for more checkpoints: %s", error)
