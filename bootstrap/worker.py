"""A worker of a cluster, top to bottom. Enters: what user data exported. Leaves: an exit code for its trap.

    packages and data → join the head that head.json names → lend Ray this box, until the run is over, it is taken
    away, or there is no head any more

Exit 75: the group may replace it. Anything else: it leaves its group for good; the others go on. It writes no status
and takes no lease: the run is the head's, a trial has a lease of its own (`bootstrap/trial.py`).
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bootstrap.deadline import Deadline
from bootstrap.endings import WAIT_AFTER_NOTICE_SECONDS
from bootstrap.glance import Glance
from bootstrap.install import fetch_data, install_libraries, install_trainer
from bootstrap.keeper import Keeper
from bootstrap.listener import POLL_SECONDS, Listener
from bootstrap.metadata import LINK_LOCAL, Metadata, Notice
from bootstrap.node import Node, answers
from bootstrap.objects import Unreachable
from bootstrap.patience import PATIENCE_SECONDS, Patience
from bootstrap.state import Box, State
from bootstrap.takeover import fact
from bootstrap.voice import Voice
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.cluster import Head
from contract.errors import SignspotError
from contract.status import Lease, Machine, Status

log = logging.getLogger(__name__)

LOOK_SECONDS = 15.0
"""Between two looks for the run's end and for another head: two requests, 480 an hour, $0.0002."""
AGAIN_SECONDS = 10.0
"""Between two tries to join the same head."""
MAY_BE_REPLACED = ("spot", "group", "shutdown")
"""Notices after which the group may start another in its place."""


class Worker:
    def __init__(
        self,
        box: Box,
        metadata: Metadata,
        *,
        preparations: Sequence[Callable[[Box], None]] | None = None,
        join: Callable[[Box, str, Head], Node] = lambda box, address, head: Node.worker(
            box.paths, box.environment, address, head
        ),
        wait_after_notice_seconds: int = WAIT_AFTER_NOTICE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.box = box
        self.metadata = metadata
        clips = box.config.run.job == "extract"  # they come with each task
        self._preparations = preparations or (
            (install_libraries, install_trainer) if clips else (install_trainer, fetch_data)
        )
        self._join = join
        self._wait_after_notice_seconds = wait_after_notice_seconds
        self._sleep = sleep
        self._clock = clock
        self._voice = Voice(box, sleep)
        self._keeper = Keeper(box, self._voice)
        self._deadline = Deadline(box, self._voice, now)
        self._patiently = Patience(self._deadline, patience_seconds, sleep)
        stop = Glance(box.store.read_stop, "stop")
        self._listener = Listener(metadata, self._deadline, stop, self._voice, self._keeper, sleep)
        self._status: Glance[Status] = Glance(box.store.read_status, "status")
        self._heads: Glance[Head] = Glance(box.store.read_head, "head")
        self._reached = Glance(lambda: (self._head and answers(self._head.address)) or None, "reach")
        self._node: Node | None = None
        self._head: Head | None = None
        """The one that this box has joined, or has tried to."""
        self._tried = float("-inf")
        self._lonely_since = clock()

    def run(self) -> int:
        try:
            if self._over(self._patiently(self.box.store.read_status)) or self._patiently(self.box.store.read_stop):
                log.info("the run is over or was stopped: nothing to do but to leave")
                return EXIT_DONE
            return self._live()
        except Unreachable as error:
            log.error("S3 stays out of reach\n%s", error)
            return SignspotError.exit_code if self._patiently.is_over else EXIT_SAVED
        finally:
            self._leave()
            self._keeper.close()
            self._voice.drain()

    def _live(self) -> int:
        state = State(
            lease=Lease(epoch=0, instance=self.box.instance, time=datetime.now(UTC)),  # of nothing: for what it says
            instance_type=fact(self.metadata, "instance-type"),
            zone=fact(self.metadata, "placement/availability-zone"),
        )
        with self.box.lock():
            self.box.save(state)
        self._deadline.read()
        machine = Machine(
            type=state.instance_type,
            zone=state.zone,
            launched=self.metadata.launched(),
            volume_gb=self.box.config.machine.volume_gb,
        )
        self._voice.tell("worker", f"a worker on {state.instance_type} in {state.zone}", machine=machine)
        for prepare in self._preparations:
            prepare(self.box)
            if notice := self._listener.heard():
                return self._end(notice)
        address = self.metadata.get("local-ipv4") or "127.0.0.1"
        self._lonely_since = self._clock()
        while True:
            if notice := self._listener.pause(POLL_SECONDS):
                return self._end(notice)
            if self._over(self._status.look(LOOK_SECONDS)):
                self._voice.tell("left", "the run is over")
                return EXIT_DONE
            self._mind_head(address, self._heads.look(LOOK_SECONDS))
            if self._alone_seconds() > 60 * self.box.config.limits.idle_minutes:
                minutes = f"{self.box.config.limits.idle_minutes:g} minutes (limits.idle_minutes)"
                self._voice.tell("left", f"no head for {minutes}: this worker is not replaced")
                return SignspotError.exit_code

    def _mind_head(self, address: str, seen: Head | None) -> None:
        if self._node and not self._node.alive:
            head = self._head and self._head.instance  # it ends Ray before it says that the run is done
            self._voice.tell("parted", f"Ray has ended here: the head {head} has ended it, or is lost")
            self._leave()
        another = seen is not None and seen != self._head
        if another:
            self._leave()
            self._head = seen
        if self._head and not self._node and (another or self._clock() - self._tried >= AGAIN_SECONDS):
            self._tried = self._clock()
            self._node = self._join(self.box, address, self._head)
            if another:
                self._voice.tell("joined", f"the cluster of {self._head.instance}")

    def _alone_seconds(self) -> float:
        if self._node and self._reached.look(LOOK_SECONDS):
            self._lonely_since = self._clock()
        return self._clock() - self._lonely_since

    def _end(self, notice: Notice) -> int:
        """Trials hear of it as this box does, and save themselves; Ray stays until they have."""
        self._voice.tell("notice", f"{notice.kind}: this worker ends")
        patience = self._wait_after_notice_seconds if notice.kind in MAY_BE_REPLACED else self._grace_seconds
        for _ in range(int(patience)):
            if self._listener.terminated or (notice.kind not in MAY_BE_REPLACED and not self._trials()):
                break
            self._sleep(1.0)
        return EXIT_SAVED if notice.kind in MAY_BE_REPLACED else EXIT_DONE

    @property
    def _grace_seconds(self) -> float:
        """For trials that save themselves before a stop or the deadline."""
        return self.box.config.limits.grace_seconds + 60

    def _trials(self) -> list[str]:
        """Attempts at trials that live: `<trial>.<pid>`."""
        return [path.name for path in self.box.paths.trials.glob("*.*") if Path("/proc", path.suffix[1:]).exists()]

    def _leave(self) -> None:
        if self._node:
            self._node.stop()
            self._node = None

    @staticmethod
    def _over(status: Status | None) -> bool:
        return status is not None and status.phase.final

    def terminate(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGTERM: the machine is being shut down; the same as a notice."""
        self._listener.terminated = True


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker: %(message)s")
    try:
        box = Box.from_environment(os.environ)
        worker = Worker(box, Metadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL)))
        signal.signal(signal.SIGTERM, worker.terminate)
        gc.freeze()  # as the agent does
        return worker.run()
    except SignspotError as error:
        log.error("%s", error)
        return error.exit_code
    except Exception:
        log.exception("the worker itself failed")
        return SignspotError.exit_code


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # no thread that still waits for the network may keep this instance alive
