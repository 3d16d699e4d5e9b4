"""One trial of a sweep, on a worker: a run below its run, with the agent that any run has. Enters: the training
contract, and SIGNSPOT_TRIAL. Leaves: progress in SM_OUTPUT_DIR, everything else in S3, and the contract's exit code.

Lease, restore, sync, watchdog and endings are the agent's own. What differs is said here: where its files are on a
box that others work on as well, what may ask it to stop, and that it ends no instance.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from bootstrap.agent import Agent
from bootstrap.metadata import LINK_LOCAL, Metadata
from bootstrap.state import S3_MANNERS, Box
from bootstrap.store import RunStore
from bootstrap.sync import read_progress
from contract.box import EXIT_DONE, EXIT_SAVED, BoxPaths
from contract.config import Config
from contract.errors import ConfigError, SignspotError, TrainerError
from contract.layout import RunLayout
from contract.status import Deadline, Phase, Status, StopRequest

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Of a trial: it becomes a part of keys and paths."""


@dataclass(frozen=True)
class TrialPaths(BoxPaths):
    """Code, packages and data are the box's; what an attempt at a trial writes is its own."""

    attempt: str = ""

    @property
    def own(self) -> Path:
        return self.trials / self.attempt

    @property
    def state(self) -> Path:
        return self.own / "state"

    @property
    def checkpoints(self) -> Path:
        return self.own / "checkpoints"

    @property
    def model(self) -> Path:
        return self.own / "model"

    @property
    def output(self) -> Path:
        return self.own / "output"

    @property
    def logs(self) -> Path:
        return self.own / "logs"

    @property
    def host_key(self) -> Path:
        """There is none to publish: nobody may knock at a worker."""
        return self.own / "no-host-key"


class TrialStore(RunStore):
    """Of the trial; but who ends the run ends its trials."""

    def __init__(self, s3: S3Client, bucket: str, run: str, trial: str) -> None:
        super().__init__(s3, bucket, f"{run}/trials/{trial}")
        self._run = RunLayout(run)

    def read_stop(self) -> StopRequest | None:
        request, _ = self._objects.read(self._run.stop, StopRequest)
        return request if request and request.stands else None

    def read_deadline(self) -> datetime | None:
        deadline, _ = self._objects.read(self._run.deadline, Deadline)
        return deadline.stop_at if deadline else None


class TrialBox(Box):
    def write_cron(self) -> None:
        """The sync of last resort is the box's, and this is one of several that work on it."""


def trial_box(s3: S3Client, box: Box, trial: str, settings: str) -> TrialBox:
    """`settings`: `SM_HPS`, of which what `[trainer]` knows counts; the rest is the box's.

    Raises:
        ConfigError: no such name, or settings that cannot be.
    """
    if not NAME.fullmatch(trial):
        raise ConfigError(f"{trial!r} is no name of a trial", mend="letters, digits, - and _, at most 64")
    known = type(box.config.trainer).model_fields
    given = {name: value for name, value in json.loads(settings or "{}").items() if name in known}
    trainer = type(box.config.trainer).model_validate(box.config.trainer.model_dump() | given)
    run = box.config.run.name
    named = box.config.run.model_copy(update={"name": f"{run}/trials/{trial}"})
    config: Config = box.config.model_copy(update={"trainer": trainer, "run": named})
    paths = TrialPaths(box.paths.root, f"{trial}.{os.getpid()}")
    store = TrialStore(s3, box.bucket, run, trial)
    return TrialBox(paths, config, box.bucket, box.data, "", box.instance, store, box.environment, box.stop_at)


def follow(progress: Path, output: Path) -> None:
    """What the sweep reads is where the trainer writes."""
    output.mkdir(parents=True, exist_ok=True)
    shown = output / progress.name
    shown.unlink(missing_ok=True)
    shown.symlink_to(progress)


def hand_over(paths: BoxPaths, status: Status | None, output: Path, model: Path) -> None:
    """What the sweep may want to read when the trial's own folder is gone; of a trial that was through before this
    attempt, what S3 has."""
    done = read_progress(paths.progress)
    if status and done.step < status.progress.step:
        done = status.progress
    (output / paths.progress.name).unlink(missing_ok=True)
    (output / paths.progress.name).write_text(done.model_dump_json())
    for file, folder in ((paths.failure, output), (paths.model / "metrics.json", model)):
        if file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.name)


def exit_code(status: Status | None) -> int:
    """What is true of the trial, whoever carried it out."""
    if status is not None and status.phase is Phase.DONE:
        return EXIT_DONE
    if status is not None and status.phase is Phase.FAILED:
        return TrainerError.exit_code
    return EXIT_SAVED


def run(s3: S3Client, box: Box, environment: Mapping[str, str], agent_of: Callable[[Box], Agent]) -> int:
    """Raises SignspotError: the trial could not be begun."""
    mine = trial_box(s3, box, environment["SIGNSPOT_TRIAL"], environment.get("SM_HPS", ""))
    own, output = mine.paths.state.parent, Path(environment["SM_OUTPUT_DIR"])
    mine.paths.logs.mkdir(parents=True)
    follow(mine.paths.progress, output)
    agent = agent_of(mine)
    signal.signal(signal.SIGTERM, agent.terminate)
    try:
        code = agent.run()
        status = mine.store.read_status()
        if exit_code(status) == EXIT_DONE and not mine.paths.model.exists():  # it was through before this attempt
            mine.store.fetch_model(mine.paths.model)
        hand_over(mine.paths, status, output, Path(environment["SM_MODEL_DIR"]))
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return exit_code(status) if code == EXIT_DONE else code


def main() -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # no trial outlives who asked for it
    logging.basicConfig(level=logging.INFO, format="%(asctime)s trial: %(message)s")
    metadata = Metadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL))
    try:
        return run(
            boto3.client("s3", config=S3_MANNERS),
            Box.from_environment(os.environ),
            os.environ,
            lambda box: Agent(box, metadata, preparations=(), wait_after_notice_seconds=0),
        )
    except SignspotError as error:
        log.error("%s", error)
        return error.exit_code


if __name__ == "__main__":
    ended = main()
    logging.shutdown()
    os._exit(ended)  # no thread that still waits for the network may keep the trial's place
