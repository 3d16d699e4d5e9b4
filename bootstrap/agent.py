"""The life of one box, top to bottom. Enters: what user data exported. Leaves: an exit code for its trap.

    take the lease → install and restore → start the trainer → sync and listen → on a notice save and wait
    for the end → when it is done or given up, say so in S3

Exit 75: the work is saved and the group may replace this box. Anything else: the run is over, the trap takes
this instance out of the group for good. So whatever goes wrong here ends the instance.
S3 out of reach ends no run: the box waits for it (`PATIENCE_SECONDS`) and then leaves to its replacement.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from bootstrap.install import fetch_data, install_trainer
from bootstrap.keeper import Keeper
from bootstrap.metadata import LINK_LOCAL, Metadata, Notice
from bootstrap.objects import Unreachable
from bootstrap.snapshot import Moved, snapshot
from bootstrap.state import Box, State
from bootstrap.sync import read_progress, sync
from bootstrap.takeover import restore, take_over
from bootstrap.voice import Voice
from bootstrap.workload import Workload
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.errors import SignspotError, StaleLease, StorageError, TrainerError
from contract.status import Phase, Status

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_SECONDS = 1.0
"""AWS recommends looking for a notice every 5 seconds; every second costs nothing."""
WAIT_AFTER_NOTICE_SECONDS = 300
"""After this the box ends itself: AWS did not take it, and nothing runs on it any more."""
DEADLINE_MARGIN = timedelta(minutes=3)
"""Before the group is set to 0 from outside, the box ends the run itself, saved and with a reason."""
PATIENCE_SECONDS = 3600
"""How long a box waits for S3. Its replacement could not reach S3 either, and the deadline ends both."""


class Agent:
    def __init__(
        self,
        box: Box,
        metadata: Metadata,
        *,
        preparations: Sequence[Callable[[Box], None]] = (install_trainer, fetch_data),
        wait_after_notice_seconds: int = WAIT_AFTER_NOTICE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.box = box
        self.metadata = metadata
        self._preparations = preparations
        self._wait_after_notice_seconds = wait_after_notice_seconds
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        self._now = now
        self._terminated = False
        self._risks: frozenset[str] = frozenset()
        self._voice = Voice(box, sleep)
        self._keeper = Keeper(box, self._voice)

    def run(self) -> int:
        try:
            previous = self._patiently(self.box.store.read_status)
            if previous is not None and previous.phase.final:
                log.info("run %s is %s already: nothing to do but to end", previous.run, previous.phase)
                return EXIT_DONE
            return self._live(previous)
        except StaleLease as error:
            log.error("%s", error)
            return EXIT_SAVED
        except Unreachable as error:
            log.error("S3 stays out of reach; what is in it is safe, and the next box goes on from there\n%s", error)
            return EXIT_SAVED
        finally:
            self._keeper.close()
            self._voice.drain()

    def _live(self, previous: Status | None) -> int:
        state = self._patiently(lambda: take_over(self.box, self.metadata, previous))
        self._voice.tell("booting", f"attempt {state.attempts} on {state.instance_type} in {state.zone}")
        limit = self.box.config.limits.max_attempts
        if state.fruitless_attempts >= limit:
            return self._give_up(f"{limit} boots in a row have ended without a new checkpoint")
        try:
            self.box.write_cron()
            notice = self._prepare()
            return self._save_and_wait(None, notice) if notice else self._train()
        except (StaleLease, Unreachable):
            raise
        except (SignspotError, OSError) as error:
            return self._give_up(str(error))

    # --- booting -----------------------------------------------------------------------------------

    def _prepare(self) -> Notice | None:
        """Packages, dataset and checkpoint, side by side: each waits for the network, not for the others.

        Returns a notice that came meanwhile; there is nothing to save then but the word `interrupted`,
        and nobody waits for the packages.
        """
        began = time.monotonic()
        pool = ThreadPoolExecutor(len(self._preparations) + 1, thread_name_prefix="prepare")
        try:
            parts = [pool.submit(prepare, self.box) for prepare in self._preparations]
            parts.append(pool.submit(self._patiently, self._restore))
            while not all(part.done() for part in parts):
                if notice := self._pause(POLL_SECONDS):
                    return notice
            for part in parts:
                part.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        self._voice.tell("ready", "packages, data and checkpoint are here", seconds=time.monotonic() - began)
        return None

    def _restore(self) -> None:
        manifest = restore(self.box, lambda complaint: self._voice.tell("warning", complaint))
        if manifest:
            message = f"checkpoint {manifest.id}, step {manifest.step}, every hash verified"
            self._voice.tell("restored", message, step=manifest.step)

    # --- listening ---------------------------------------------------------------------------------

    def _heard(self) -> Notice | None:
        if self._terminated:
            return Notice("shutdown", None)
        if self.box.stop_at and self._now() >= self.box.stop_at - DEADLINE_MARGIN:
            return Notice("deadline", self.box.stop_at)
        heard = self.metadata.listen()
        for risk in sorted(heard.risks - self._risks):
            kind, _, message = risk.partition(": ")
            self._voice.tell(kind, message)
            self._keeper.hurry()
        self._risks |= heard.risks
        return heard.notice

    def _pause(self, seconds: float) -> Notice | None:
        """Sleep that long, in all; listening took its part of it. Returns the notice that ends it early."""
        while seconds > 0:
            began = time.monotonic()
            if notice := self._heard():
                return notice
            nap = min(seconds, POLL_SECONDS)
            self._sleep(max(0.0, nap - (time.monotonic() - began)))
            seconds -= nap
        return None

    # --- training ----------------------------------------------------------------------------------

    def _train(self) -> int:
        failures = 0
        while True:
            self.box.enter(Phase.TRAINING)
            progress_before = read_progress(self.box.paths.progress).step
            workload = Workload(self.box.paths, self.box.config, self.box.environment)
            self._voice.tell("training", "the trainer has been started")
            state = self.box.load()
            if state.attempts > 1 and failures == 0:
                self._voice.publish("resumed", f"training goes on from step {state.restored_step}")
            try:
                notice = self._watch(workload)
            except BaseException:  # whatever it is, no trainer outlives its agent
                workload.stop(self.box.config.limits.grace_seconds)
                raise
            if notice:
                return self._save_and_wait(workload, notice)
            workload.clear()
            if workload.exit_code == EXIT_DONE:
                return self._finish()
            reason = self._failure(workload.exit_code)
            failures = failures + 1 if read_progress(self.box.paths.progress).step <= progress_before else 1
            self._voice.tell("trainer failed", f"{reason} ({failures} without progress)")
            if failures >= self.box.config.limits.max_attempts:
                raise TrainerError(f"the trainer failed {failures} times without progress", why=reason)
            if notice := self._pause(min(2.0**failures, 60)):
                return self._save_and_wait(None, notice)

    def _watch(self, workload: Workload) -> Notice | None:
        """Until the trainer ends or a notice comes; meanwhile keeps S3 up to date."""
        while workload.exit_code is None:
            self._keeper.look()
            if notice := self._pause(POLL_SECONDS):
                return notice
        return Notice("shutdown", None) if self._terminated else None

    def _failure(self, code: int | None) -> str:
        try:
            return f"exit {code}: {self.box.paths.failure.read_text(errors='replace').strip()[:2000]}"
        except OSError:
            return f"exit {code}, no reason given; see the end of its log"

    # --- endings -----------------------------------------------------------------------------------

    def _save_and_wait(self, workload: Workload | None, notice: Notice) -> int:
        """Whatever cannot be saved in time: the run is not over, and the next box goes on from what is in S3."""
        began = time.monotonic()
        when = f" at {notice.time}" if notice.time else ""
        self._voice.tell("notice", f"{notice.kind}: this instance ends{when}")
        code = workload.stop(self.box.config.limits.grace_seconds) if workload else EXIT_SAVED
        if code == EXIT_DONE:
            return self._finish()
        if notice.kind == "deadline":
            self._end(Phase.EXPIRED, f"the time of the run is over{when}; what was trained is saved")
            return EXIT_DONE
        try:
            self.box.enter(Phase.INTERRUPTED, f"{notice.kind} notice")
            self._final_sync()
            saved = "saved" if code == EXIT_SAVED else f"the trainer did not save itself (exit {code})"
        except StaleLease:
            raise
        except StorageError as error:
            saved = f"not everything could be saved: {error.what} ({error.why})"
        state, seconds = self.box.load(), time.monotonic() - began
        message = f"{saved}; checkpoint of step {state.checkpoint_step} is in S3"
        self._voice.tell("interrupted", message, step=state.checkpoint_step, seconds=seconds)
        self._voice.publish("interrupted", f"{message}, {seconds:.1f} s after the notice")
        for _ in range(self._wait_after_notice_seconds):
            if self._terminated:
                break
            self._sleep(1.0)
        return EXIT_SAVED

    def _finish(self) -> int:
        """The model first, then the word `done`: whoever reads it finds everything there."""
        state = self._final_sync()
        step = read_progress(self.box.paths.progress).step

        def commit() -> None:
            with snapshot(self.box.paths.model, self.box.paths.state / "staging") as files:
                if not files.files:
                    raise TrainerError("the trainer ended well but left no model", mend="let it write to SM_MODEL_DIR")
                self.box.store.commit_model(files, step, state.lease)

        self._patiently(commit)
        self._end(Phase.DONE, f"trained to step {step}; the model is in S3, every file verified")
        return EXIT_DONE

    def _give_up(self, reason: str) -> int:
        self._end(Phase.FAILED, reason)
        return TrainerError.exit_code

    def _end(self, phase: Phase, reason: str) -> None:
        self.box.enter(phase, reason)
        self._voice.tell(str(phase), reason)
        self._final_sync()
        self._voice.publish(str(phase), reason)

    def _final_sync(self) -> State:
        """Sync until it holds; the last error is raised when it never does."""
        self._keeper.finish()
        return self._patiently(lambda: sync(self.box))

    def _patiently(self, action: Callable[[], T]) -> T:
        """Try again while S3 does not answer (or a file changed while it was read); at last raise the error."""
        retrying = Retrying(
            retry=retry_if_exception_type((Unreachable, Moved)),
            stop=stop_after_delay(self._patience_seconds),
            wait=wait_exponential(max=30),
            before_sleep=lambda attempt: log.warning("%s", attempt.outcome and attempt.outcome.exception()),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(action)

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
    except Exception:
        log.exception("the agent itself failed")
        return SignspotError.exit_code


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # no thread that still waits for the network may keep this instance alive
