"""The life of one box, top to bottom. Enters: what user data exported. Leaves: an exit code for its trap.

    take the lease → install and restore → start the trainer → sync and listen → on a notice save and wait
    for the end → when it is done or given up, say so in S3

Exit 75: the work is saved and the group may replace this box. Anything else: the run is over, the trap takes
this instance out of the group for good. So whatever goes wrong here ends the instance.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import FrameType
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from bootstrap.install import fetch_data, install_trainer
from bootstrap.metadata import LINK_LOCAL, Metadata, Notice
from bootstrap.notify import publish
from bootstrap.snapshot import fingerprint_of, snapshot
from bootstrap.state import Box, State
from bootstrap.sync import read_progress, status_of, sync, tell
from bootstrap.workload import Workload
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.errors import SignspotError, StaleLease, StorageError, TrainerError
from contract.status import Lease, Phase, Status

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_SECONDS = 1.0
"""AWS recommends looking for a notice every 5 seconds; every second costs nothing."""
WAIT_AFTER_NOTICE_SECONDS = 300
"""After this the box ends itself: AWS did not take it, and nothing runs on it any more."""


class Agent:
    def __init__(
        self,
        box: Box,
        metadata: Metadata,
        *,
        preparations: Sequence[Callable[[Box], None]] = (install_trainer, fetch_data),
        wait_after_notice_seconds: int = WAIT_AFTER_NOTICE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.box = box
        self.metadata = metadata
        self._preparations = preparations
        self._wait_after_notice_seconds = wait_after_notice_seconds
        self._sleep = sleep
        self._terminated = False
        self._syncs = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._sync: Future[State] | None = None
        self._last_sync = 0.0
        self._rebalance_told = False

    def run(self) -> int:
        previous = self.box.store.read_status()
        if previous is not None and previous.phase.final:
            log.info("run %s is %s already: nothing to do but to end", previous.run, previous.phase)
            return EXIT_DONE
        state = self._take_over(previous)
        limit = self.box.config.limits.max_attempts
        if state.fruitless_attempts >= limit:
            return self._give_up(f"{limit} boots in a row have ended without a new checkpoint")
        self.box.write_cron()
        try:
            notice = self._prepare()
            return self._save_and_wait(None, notice) if notice else self._train()
        except StaleLease as error:
            log.error("%s", error)
            return EXIT_SAVED
        except SignspotError as error:
            return self._give_up(str(error))

    # --- booting -----------------------------------------------------------------------------------

    def _take_over(self, previous: Status | None) -> State:
        lease: Lease = self.box.store.take_lease(self.box.instance, datetime.now(UTC))
        fruitless = 0
        if previous is not None:
            advanced = previous.checkpoint_step > previous.restored_step
            counted = 0 if previous.phase is Phase.INTERRUPTED else 1
            fruitless = 0 if advanced else previous.fruitless_attempts + counted
        state = State(
            lease=lease,
            attempts=previous.attempts + 1 if previous else 1,
            fruitless_attempts=fruitless,
            instance_type=self.metadata.get("instance-type") or "",
            zone=self.metadata.get("placement/availability-zone") or "",
            restored_step=previous.checkpoint_step if previous else 0,
            checkpoint_step=previous.checkpoint_step if previous else 0,
        )
        with self.box.lock():
            self.box.save(state)
        self.box.store.write_status(status_of(self.box, state))
        tell(self.box, "booting", f"attempt {state.attempts} on {state.instance_type} in {state.zone}")
        return state

    def _prepare(self) -> Notice | None:
        """Packages, dataset and checkpoint, side by side: each waits for the network, not for the others.

        Returns a notice that came meanwhile; there is nothing to save then but the word `interrupted`.
        """
        began = time.monotonic()
        with ThreadPoolExecutor(len(self._preparations) + 1) as pool:
            parts = [pool.submit(prepare, self.box) for prepare in self._preparations]
            parts.append(pool.submit(self._restore))
            while not all(part.done() for part in parts):
                if notice := self._heard():
                    return notice
                self._sleep(POLL_SECONDS)
            for part in parts:
                part.result()
        tell(self.box, "ready", "packages, data and checkpoint are here", seconds=time.monotonic() - began)
        return None

    def _heard(self) -> Notice | None:
        return Notice("shutdown", None) if self._terminated else self.metadata.notice()

    def _restore(self) -> None:
        self.box.paths.checkpoints.mkdir(parents=True, exist_ok=True)
        manifest, complaints = self.box.store.restore(self.box.paths.checkpoints)
        for complaint in complaints:
            tell(self.box, "warning", complaint)
        for checkpoint in self.box.store.clear_unfinished():
            log.info("cleared unfinished checkpoint %s", checkpoint)
        step = manifest.step if manifest else 0
        with self.box.lock():
            self.box.save(
                self.box.load().model_copy(
                    update={
                        "synced": fingerprint_of(self.box.paths.checkpoints),
                        "restored_step": step,
                        "checkpoint": manifest.id if manifest else "",
                        "checkpoint_step": step,
                        "checkpoint_time": manifest.time if manifest else None,
                    }
                )
            )
        if manifest:
            tell(self.box, "restored", f"checkpoint {manifest.id}, step {step}, every hash verified", step=step)

    # --- training ----------------------------------------------------------------------------------

    def _train(self) -> int:
        failures = 0
        while True:
            self.box.enter(Phase.TRAINING)
            progress_before = read_progress(self.box.paths.progress).step
            workload = Workload(self.box.paths, self.box.config, self.box.environment)
            tell(self.box, "training", "the trainer has been started")
            if self.box.load().attempts > 1 and failures == 0:
                publish(self.box, "resumed", f"training goes on from step {self.box.load().restored_step}")
            try:
                notice = self._watch(workload)
            except BaseException:  # whatever it is, no trainer outlives its agent
                workload.stop(self.box.config.limits.grace_seconds)
                raise
            if notice:
                return self._save_and_wait(workload, notice)
            if workload.exit_code == EXIT_DONE:
                return self._finish()
            reason = self._failure(workload.exit_code)
            failures = failures + 1 if read_progress(self.box.paths.progress).step <= progress_before else 1
            tell(self.box, "trainer failed", f"{reason} ({failures} without progress)")
            if failures >= self.box.config.limits.max_attempts:
                raise TrainerError(f"the trainer failed {failures} times without progress", why=reason)
            self._sleep(min(2.0**failures, 60))

    def _watch(self, workload: Workload) -> Notice | None:
        """Until the trainer ends or a notice comes; meanwhile keeps S3 up to date."""
        while workload.exit_code is None:
            if notice := self._heard():
                return notice
            if self.metadata.rebalance_recommended() and not self._rebalance_told:
                self._rebalance_told = True
                tell(self.box, "rebalance", "AWS sees a raised risk of interruption")
                self._last_sync = 0.0
            self._sync_when_due()
            self._sleep(POLL_SECONDS)
        return Notice("shutdown", None) if self._terminated else None

    def _sync_when_due(self) -> None:
        """In a thread of its own: a slow upload must not keep us from hearing a notice."""
        if self._sync and self._sync.done():
            error = self._sync.exception()
            self._sync = None
            if isinstance(error, StaleLease) or (error and not isinstance(error, StorageError)):
                raise error
            if error:
                log.warning("sync: %s", error)
        if self._sync is None:
            elapsed = time.monotonic() - self._last_sync
            new = fingerprint_of(self.box.paths.checkpoints) != self.box.load().synced
            if new or elapsed >= self.box.config.sync.heartbeat_seconds:
                self._last_sync = time.monotonic()
                self._sync = self._syncs.submit(sync, self.box)

    def _failure(self, code: int | None) -> str:
        try:
            return f"exit {code}: {self.box.paths.failure.read_text(errors='replace').strip()[:2000]}"
        except OSError:
            return f"exit {code}, no reason given; see the end of its log"

    # --- endings -----------------------------------------------------------------------------------

    def _save_and_wait(self, workload: Workload | None, notice: Notice) -> int:
        began = time.monotonic()
        tell(self.box, "notice", f"{notice.kind}: this instance ends{f' at {notice.time}' if notice.time else ''}")
        code = workload.stop(self.box.config.limits.grace_seconds) if workload else EXIT_SAVED
        if code == EXIT_DONE:
            return self._finish()
        self.box.enter(Phase.INTERRUPTED, f"{notice.kind} notice")
        state = self._final_sync()
        seconds = time.monotonic() - began
        saved = "saved" if code == EXIT_SAVED else f"the trainer did not save itself (exit {code})"
        message = f"{saved}; checkpoint of step {state.checkpoint_step} is in S3"
        tell(self.box, "interrupted", message, step=state.checkpoint_step, seconds=seconds)
        publish(self.box, "interrupted", f"step {state.checkpoint_step} is safe, {seconds:.1f} s after the notice")
        for _ in range(self._wait_after_notice_seconds):
            if self._terminated:
                break
            self._sleep(1.0)
        return EXIT_SAVED

    def _finish(self) -> int:
        """The model first, then the word `done`: whoever reads it finds everything there."""
        state = self._final_sync()
        step = read_progress(self.box.paths.progress).step
        with snapshot(self.box.paths.model, self.box.paths.state / "staging") as files:
            if not files.files:
                raise TrainerError("the trainer ended well but left no model", mend="let it write into SM_MODEL_DIR")
            self._persist(lambda: self.box.store.commit_model(files, step, state.lease))
        self._end(Phase.DONE, f"trained to step {step}; the model is in S3, every file verified")
        return EXIT_DONE

    def _give_up(self, reason: str) -> int:
        self._end(Phase.FAILED, reason)
        return TrainerError.exit_code

    def _end(self, phase: Phase, reason: str) -> None:
        self.box.enter(phase, reason)
        tell(self.box, str(phase), reason)
        self._final_sync()
        publish(self.box, str(phase), reason)

    def _final_sync(self) -> State:
        """Sync until it holds; the last error is raised when it never does."""
        if self._sync:
            self._sync.exception()
            self._sync = None
        return self._persist(lambda: sync(self.box))

    def _persist(self, write: Callable[[], T]) -> T:
        """Try again while S3 refuses; the last error is raised when it never holds."""
        again = retry_if_exception(lambda error: isinstance(error, StorageError) and not isinstance(error, StaleLease))
        retrying = Retrying(
            retry=again, stop=stop_after_attempt(5), wait=wait_exponential(), sleep=self._sleep, reraise=True
        )
        return retrying(write)

    def terminate(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGTERM to the agent: the machine is being shut down; the same as a notice."""
        self._terminated = True


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s agent: %(message)s")
    try:
        box = Box.from_environment(os.environ)
        agent = Agent(box, Metadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL)))
        signal.signal(signal.SIGTERM, agent.terminate)
        return agent.run()
    except SignspotError as error:
        log.error("%s", error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
