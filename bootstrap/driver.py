"""The trainer of a cluster's head. Enters: the training contract, as of any trainer. Leaves: what the run's job makes.

    Ray's head → head.json, by which the workers find it → the job, as a process that gives them work → its result

SIGTERM means save now: the job is told, what it has made so far lies in SM_CHECKPOINT_DIR, and the next head goes on
from there. The workers keep what they have; they join the next head.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Protocol

from bootstrap.metadata import LINK_LOCAL, Metadata
from bootstrap.node import Node, answers, token_environment
from bootstrap.state import Box
from contract.box import EXIT_DONE, EXIT_SAVED
from contract.cluster import Head, Ports
from contract.errors import CloudError, SignspotError, TrainerError

log = logging.getLogger(__name__)

UP_SECONDS = 120
POLL_SECONDS = 1.0


class Job(Protocol):
    """What the cluster does."""

    def command(self, address: str) -> list[str]:
        """The process that gives the cluster at the address its work."""

    def restore(self) -> None:
        """Put in place what an earlier head has saved."""

    def save(self, *, due: bool) -> None:
        """Bring what there is into SM_CHECKPOINT_DIR; unless `due`, only when it is time. Tell the progress."""

    def finish(self, code: int) -> None:
        """Put the result into SM_MODEL_DIR. Raises SignspotError: the exit code means that there is none."""


class Driver:
    def __init__(self, box: Box, job: Job, address: str) -> None:
        self.box = box
        self.job = job
        self._address = address
        self._stopping = False

    def run(self) -> int:
        self.job.restore()
        token = secrets.token_hex(32)
        node = Node.head(self.box.paths, self.box.environment, self._address, token)
        try:
            where = self._announce(node, token)
            return self._work(node, where, token)
        finally:
            node.stop()

    def _announce(self, node: Node, token: str) -> str:
        where = f"{self._address}:{Ports.of(self.box.environment).gcs}"
        deadline = time.monotonic() + UP_SECONDS
        while not answers(where):
            if not node.alive or time.monotonic() > deadline:
                raise CloudError("Ray does not start on the head", why=node.said)
            time.sleep(POLL_SECONDS)
        lease = self.box.load().lease
        self.box.store.write_head(
            Head(address=where, instance=self.box.instance, epoch=lease.epoch, token=token), lease
        )
        print(f"the head listens at {where}", flush=True)
        return where

    def _work(self, node: Node, where: str, token: str) -> int:
        environment = {**self.box.environment, **token_environment(token)}
        process = subprocess.Popen(self.job.command(where), cwd=self.box.paths.home, env=environment)
        try:
            while process.poll() is None and not self._stopping and node.alive:
                time.sleep(POLL_SECONDS)
                self.job.save(due=False)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(self.box.config.limits.grace_seconds / 2)
        finally:
            process.kill()
        code = process.wait()
        if self._stopping and code != EXIT_DONE:
            self.job.save(due=True)
            return EXIT_SAVED
        if not node.alive:
            raise CloudError("Ray has ended on the head", why=node.said)
        self.job.save(due=True)
        self.job.finish(code)
        return EXIT_DONE

    def terminate(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True


def main() -> int:
    from bootstrap.jobs import job_of

    logging.basicConfig(level=logging.INFO, format="%(asctime)s driver: %(message)s")
    try:
        box = Box.from_environment(os.environ)
        metadata = Metadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL))
        driver = Driver(box, job_of(box), metadata.get("local-ipv4") or "127.0.0.1")
        signal.signal(signal.SIGTERM, driver.terminate)
        return driver.run()
    except SignspotError as error:
        log.error("%s", error)
        with suppress(OSError):
            Box.from_environment(os.environ).paths.failure.write_text(str(error))
        return TrainerError.exit_code


if __name__ == "__main__":
    sys.exit(main())
