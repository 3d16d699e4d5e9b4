"""The life of one box, top to bottom. Enters: what user data exported. Leaves: an exit code for its trap.

    take the lease → install and restore → start the trainer → sync, listen and watch → on a notice save and wait
    for the end → when it is done or given up, say so in S3

Exit 75: the work is saved and the group may replace this box. Anything else: the run is over, or stopped by
`signspot stop`; the trap takes this instance out of the group for good. So whatever goes wrong here ends the instance.
S3 out of reach ends no run: the box waits for it (patience.py), until the deadline at most, and then leaves to
its replacement.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType

from bootstrap.deadline import Deadline
from bootstrap.endings import WAIT_AFTER_NOTICE_SECONDS, Endings
from bootstrap.glance import Glance
from bootstrap.gpu import Gpu
from bootstrap.host_key import HostKey
from bootstrap.install import fetch_data, install_trainer
from bootstrap.keeper import Keeper
from bootstrap.listener import POLL_SECONDS, Listener
from bootstrap.metadata import LINK_LOCAL, Metadata, Notice
from bootstrap.objects import Unreachable
from bootstrap.patience import PATIENCE_SECONDS, Patience
from bootstrap.state import Box
from bootstrap.sync import read_progress
from bootstrap.takeover import restore, take_over
from bootstrap.voice import Voice
from bootstrap.watchdog import Alarm, Watchdog
from bootstrap.workload import Workload
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.errors import SignspotError, StaleLease, StorageError, TrainerError
from contract.status import Machine, Phase, Status

log = logging.getLogger(__name__)


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
        gpu: Callable[[], int | None] | None = None,
    ) -> None:
        self.box = box
        self.metadata = metadata
        self._preparations = preparations
        self._voice = Voice(box, sleep)
        self._keeper = Keeper(box, self._voice)
        self._deadline = Deadline(box, self._voice, now)
        self._patiently = Patience(self._deadline, patience_seconds, sleep)
        self._host_key = HostKey(box, self._voice, self._patiently, sleep)
        stop = Glance(box.store.read_stop, "stop")
        self._listener = Listener(metadata, self._deadline, stop, self._voice, self._keeper, sleep)
        self._watchdog = Watchdog(box.config.limits, gpu or Gpu(note=box.paths.usage))
        self._endings = Endings(
            box, self._voice, self._keeper, self._listener, self._patiently, sleep, wait_after_notice_seconds
        )

    def run(self) -> int:
        try:
            previous = self._patiently(self.box.store.read_status)
            if previous is not None and previous.phase.final:
                log.info("run %s is %s already: nothing to do but to end", previous.run, previous.phase)
                return EXIT_DONE
            if self._patiently(self.box.store.read_stop):
                log.info("run %s was stopped: nothing to do but to end", self.box.config.run.name)
                return EXIT_DONE
            return self._live(previous)
        except StaleLease as error:
            log.error("%s", error)
            return EXIT_SAVED
        except Unreachable as error:
            log.error("S3 stays out of reach; what is in it is safe\n%s", error)
            return self._over_or_saved()
        finally:
            self._keeper.close()
            self._host_key.close()
            self._voice.drain()

    def _over_or_saved(self) -> int:
        """Before the deadline the next box goes on; at the deadline there is to be none."""
        if not self._patiently.is_over:
            return EXIT_SAVED
        with suppress(StorageError):  # for the epitaph, should S3 answer again: this box may not have taken over
            self.box.enter(Phase.EXPIRED, "the time of the run is over, and S3 could not be reached to the last")
        return StorageError.exit_code

    def _live(self, previous: Status | None) -> int:
        state = self._patiently(lambda: take_over(self.box, self.metadata, previous))
        self._host_key.publish()
        self._deadline.read()
        config, limits = self.box.config, self.box.config.limits
        machine = Machine(
            type=state.instance_type,
            zone=state.zone,
            launched=self.metadata.launched(),
            volume_gb=config.machine.volume_gb,
        )
        where = f"on {state.instance_type} in {state.zone}"
        self._voice.tell("booting", f"attempt {state.attempts} {where}", machine=machine)
        if state.fruitless_attempts >= limits.max_attempts:
            return self._endings.give_up(f"{limits.max_attempts} boots in a row have ended without a new checkpoint")
        if state.attempts == 1 and (wrong := self._deadline.beyond(config.hours)):
            return self._endings.give_up(wrong)
        try:
            self.box.write_cron()
            notice = self._prepare()
            return self._endings.save_and_wait(None, notice) if notice else self._train()
        except (StaleLease, Unreachable):
            raise
        except (SignspotError, OSError) as error:
            return self._endings.give_up(str(error))

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
                if notice := self._listener.heard():
                    return notice
                wait(parts, POLL_SECONDS)
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

    # --- training ----------------------------------------------------------------------------------

    def _train(self) -> int:
        failures, limits = 0, self.box.config.limits
        while True:
            self.box.enter(Phase.TRAINING)
            progress_before = read_progress(self.box.paths.progress).step
            workload = Workload(self.box.paths, self.box.config, self.box.environment)
            self._watchdog.trainer_started()
            self._voice.tell("training", "the trainer has been started")
            state = self.box.load()
            if state.attempts > 1 and failures == 0:
                self._voice.publish("resumed", f"training goes on from step {state.restored_step}")
            try:
                end = self._watch(workload)
            except BaseException:  # whatever it is, no trainer outlives its agent
                workload.stop(limits.grace_seconds)
                raise
            if isinstance(end, Notice):
                return self._endings.save_and_wait(workload, end)
            if end:
                self._voice.tell(end.kind, end.message)
                if end.kind == "idle":
                    return self._endings.give_up(end.message, workload)
                self._voice.publish(end.kind, end.message)
                code, reason = workload.stop(limits.grace_seconds), end.message
            else:
                code = workload.clear()
                reason = self._failure(code)
            if code == EXIT_DONE:
                return self._endings.finish()
            further = read_progress(self.box.paths.progress).step > progress_before
            failures = 1 if further and not end else failures + 1
            if not end:
                self._voice.tell("trainer failed", f"{reason} ({failures} without progress)")
            if failures >= limits.max_attempts:
                raise TrainerError(f"the trainer failed {failures} times without progress", why=reason)
            if notice := self._listener.pause(min(2.0**failures, 60)):
                return self._endings.save_and_wait(None, notice)

    def _watch(self, workload: Workload) -> Notice | Alarm | None:
        """Until the trainer ends, a notice comes or something is wrong; meanwhile keeps S3 up to date."""
        while workload.exit_code is None:
            self._keeper.look()
            if notice := self._listener.pause(POLL_SECONDS):
                return notice
            if alarm := self._watchdog.look(read_progress(self.box.paths.progress), workload.log_bytes):
                return alarm
        return Notice("shutdown", None) if self._listener.terminated else None

    def _failure(self, code: int) -> str:
        try:
            return f"exit {code}: {self.box.paths.failure.read_text(errors='replace').strip()[:2000]}"
        except OSError:
            return f"exit {code}, no reason given; see the end of its log"

    def terminate(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGTERM to the agent: the machine is being shut down; the same as a notice."""
        self._listener.terminated = True


def main(shape: Callable[[Box], Box] = lambda box: box) -> int:
    """`shape`: what the box is to the agent, where that is not what user data says."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s agent: %(message)s")
    try:
        box = shape(Box.from_environment(os.environ))
        agent = Agent(box, Metadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL)))
        signal.signal(signal.SIGTERM, agent.terminate)
        gc.freeze()  # what is there by now stays, and is looked through for garbage no more: a fifth of its work
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
