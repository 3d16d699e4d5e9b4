"""One run, followed from its deploy. Enters: an account, its datacenter, the stack's outputs. Leaves: what can be
waited for, looked at, and done to it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from contract.errors import CloudError
from contract.layout import RunLayout
from contract.status import Phase, Status
from rehearsal.aws import EmulatedAws, Environ, Response
from rehearsal.datacenter import Box, Datacenter


@dataclass
class Case:
    """One run, followed from its deploy."""

    aws: EmulatedAws
    datacenter: Datacenter
    layout: RunLayout
    bucket: str
    group: str
    stop_at: datetime
    before: int
    """Boxes that the datacenter had before this run."""
    fault_at: datetime | None = None

    @property
    def boxes(self) -> list[Box]:
        return self.datacenter.boxes[self.before :]

    @property
    def alive(self) -> list[Box]:
        return [box for box in self.boxes if box.alive]

    @property
    def over(self) -> bool:
        return bool(self.boxes) and not self.alive and not self.desired()

    def status(self) -> Status | None:
        s3 = self.aws.client("s3")
        try:
            body = s3.get_object(Bucket=self.bucket, Key=self.layout.status)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None
        return Status.model_validate_json(body)

    def desired(self) -> int:
        groups = self.aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.group])
        return groups["AutoScalingGroups"][0]["DesiredCapacity"]

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = 90) -> None:
        """Raises CloudError when the condition does not come true in time, or the run is over before."""

        def holds() -> bool:
            time.sleep(0.1)
            return bool(condition()) or self.over

        if not self.datacenter.wait(holds, seconds) or not condition():
            why = "the run was over before" if self.over else f"not within {seconds:g} s"
            raise CloudError(f"{what}: it never came", why=why, mend="look at the console of the last box")

    def booted(self, number: int = 1) -> Box:
        """The run's box of that number, from 1, once it is there."""
        self.wait(f"box {number} boots", lambda: len(self.boxes) >= number)
        return self.boxes[number - 1]

    def training(self, checkpoint_step: int = 0, seconds: float = 90) -> Box:
        """The box that trains, once its checkpoint of that step or a later one is in S3."""

        def trains() -> bool:
            status = self.status()
            return bool(
                status
                and status.phase is Phase.TRAINING
                and status.progress.step > 0
                and status.checkpoint_step >= checkpoint_step
            )

        self.wait("a box trains", trains, seconds)
        return self.boxes[-1]

    def struck(self) -> None:
        self.fault_at = datetime.now(UTC)

    def marked(self, box: Box) -> None:
        """The trainer itself says when it began to misbehave."""
        mark = box.sandbox.root.output / "fault"
        self.wait("the trainer misbehaves", mark.exists)
        self.fault_at = datetime.fromtimestamp(mark.stat().st_mtime, UTC)

    def pass_deadline(self, after_seconds: float = 0) -> None:
        """AWS's clock jumps to the hour of the scheduled action; the boxes' clocks do not."""
        time.sleep(after_seconds)
        ahead = self.stop_at - datetime.now(UTC)
        self.aws.clock = lambda: datetime.now(UTC) + max(ahead, timedelta())

    def refuse(self, service: str, answer: Response, only: str = "") -> None:
        """What the boxes, and only they, get from a service from now on."""

        def of_a_box(environ: Environ) -> Response | None:
            who = environ.get("HTTP_AUTHORIZATION", "")
            where = environ.get("HTTP_HOST", "") + environ.get("PATH_INFO", "")
            return answer if "Credential=ASIA" in who and f"/{service}" in who and only in where else None

        self.aws.fault = of_a_box


def processes_of(box: Box, word: str = "") -> list[psutil.Process]:
    """Everything on the box but its first process; with `word`: what has it on its command line."""
    found = []
    for process in box.sandbox.processes():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if "rehearsal.inside" not in line and (not word or word in line):
                found.append(process)
    return found


def paralyse(box: Box) -> None:
    """Everything on the box is dead but the box."""
    while processes := processes_of(box):
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)


def power(box: Box) -> Path:
    """The dead-man timer as the box armed it: a moment, in seconds since 1970."""
    return box.sandbox.path("/run/power")
