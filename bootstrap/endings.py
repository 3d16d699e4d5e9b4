"""How a box ends its work. Enters: the trainer, if it runs, and why. Leaves: everything in S3, and an exit code."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bootstrap.keeper import Keeper
from bootstrap.listener import Listener
from bootstrap.metadata import Notice
from bootstrap.patience import Patience
from bootstrap.report import leave_report
from bootstrap.snapshot import snapshot
from bootstrap.state import Box, State
from bootstrap.sync import read_progress, sync
from bootstrap.voice import Voice
from bootstrap.workload import Workload
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.errors import StaleLease, StorageError, TrainerError
from contract.status import Phase

log = logging.getLogger(__name__)

STOPPED = "stopped on request; `signspot restart` goes on"
WAIT_AFTER_NOTICE_SECONDS = 300
"""After this the box ends itself: AWS did not take it, and nothing runs on it any more."""
REPORT_SECONDS = 10.0
"""What the end of a box waits for its report."""


class Endings:
    def __init__(
        self,
        box: Box,
        voice: Voice,
        keeper: Keeper,
        listener: Listener,
        patiently: Patience,
        sleep: Callable[[float], None],
        wait_after_notice_seconds: int,
    ) -> None:
        self._box = box
        self._voice = voice
        self._keeper = keeper
        self._listener = listener
        self._patiently = patiently
        self._sleep = sleep
        self._wait_after_notice_seconds = wait_after_notice_seconds

    def save_and_wait(self, workload: Workload | None, notice: Notice) -> int:
        """Whatever cannot be saved in time: the run is not over, and the next box goes on from what is in S3."""
        began = time.monotonic()
        when = f" at {notice.time}" if notice.time else ""
        stopped = notice.kind == "stop"
        what = "somebody asked with `signspot stop`" if stopped else f"this instance ends{when}"
        self._voice.tell("notice", f"{notice.kind}: {what}")
        code = self._stop(workload)
        if code == EXIT_DONE:
            return self.finish()
        saved = "saved" if code == EXIT_SAVED else f"the trainer did not save itself (exit {code})"
        if notice.kind == "deadline":
            what = "what was trained is saved" if code == EXIT_SAVED else saved
            self._end(Phase.EXPIRED, f"the time of the run is over{when}; {what}", cut_off=code != EXIT_SAVED)
            return EXIT_DONE
        try:
            why = STOPPED if stopped else f"{notice.kind} notice"
            self._box.enter(Phase.INTERRUPTED, why, cut_off=code != EXIT_SAVED)
            self._final_sync()
        except StaleLease:
            raise
        except StorageError as error:
            saved = f"not everything could be saved: {error.what} ({error.why})"
        state, seconds = self._box.load(), time.monotonic() - began
        message = f"{saved}; checkpoint of step {state.checkpoint_step} is in S3"
        kind = "stopped" if stopped else "interrupted"
        self._voice.tell(kind, message, step=state.checkpoint_step, seconds=seconds)
        self._voice.publish(kind, f"{message}, {seconds:.1f} s after the notice")
        if stopped:
            return EXIT_DONE  # out of the group: no other box is to go on, whatever becomes of who asked
        for _ in range(self._wait_after_notice_seconds):
            if self._listener.terminated:
                break
            self._sleep(1.0)
        return EXIT_SAVED

    def finish(self) -> int:
        """The model first, then the word `done`: whoever reads it finds everything there."""
        state = self._final_sync()
        paths = self._box.paths
        step = read_progress(paths.progress).step

        def commit() -> None:
            with snapshot(paths.model, paths.state / "staging") as files:
                if not files.listed:
                    raise TrainerError("the trainer ended well but left no model", mend="let it write to SM_MODEL_DIR")
                self._box.store.commit_model(files, step, state.lease)

        self._patiently(commit)
        self._end(Phase.DONE, f"trained to step {step}; the model is in S3, every file verified")
        return EXIT_DONE

    def give_up(self, reason: str, workload: Workload | None = None) -> int:
        """The run has failed; what was trained is saved first."""
        if self._stop(workload) == EXIT_DONE:
            return self.finish()
        self._end(Phase.FAILED, reason)
        return TrainerError.exit_code

    def _stop(self, workload: Workload | None) -> int:
        return workload.stop(self._box.config.limits.grace_seconds) if workload else EXIT_SAVED

    def _end(self, phase: Phase, reason: str, *, cut_off: bool = False) -> None:
        self._box.enter(phase, reason, cut_off=cut_off)
        self._voice.tell(str(phase), reason)
        if phase is Phase.DONE:  # the work is in S3 already, and whoever reads this phase there finds the report too
            self._leave_report()
        self._final_sync()
        if phase is not Phase.DONE:
            self._leave_report()
        self._voice.publish(str(phase), reason)

    def _leave_report(self) -> None:
        """Nothing that goes wrong with it, and no S3 that hangs, keeps a box from its end."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="report")
        try:
            self._voice.settle(REPORT_SECONDS / 2)
            pool.submit(leave_report, self._box).result(REPORT_SECONDS)
        except Exception as error:
            log.warning("the report could not be written: %s: %s", type(error).__name__, error)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _final_sync(self) -> State:
        """Sync until it holds; the last error is raised when it never does."""
        self._keeper.finish()
        return self._patiently(lambda: sync(self._box))
