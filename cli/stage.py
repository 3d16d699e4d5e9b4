"""An emulated account with our run in it. Enters: settings. Leaves: a stack, a run that is followed, what it did.

Everything the user would type is run as the user would type it: the CDK CLI, `signspot fetch`, `signspot
predict`. Only the address of AWS is another one. Rehearsals and chaos campaigns are played on it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from cli import cdk
from cli.fetch import fetch_model, stack_outputs
from cli.rehearsal_screen import Screen, Stretch
from contract.config import load_config
from contract.errors import CloudError, SignspotError
from contract.layout import RunLayout
from contract.status import Event, Phase, Progress, Status
from rehearsal.aws import EmulatedAws
from rehearsal.datacenter import Box, Datacenter
from rehearsal.sandbox import Kind
from rehearsal.workdir import Workdir

ROOT = Path(__file__).resolve().parents[1]
RUN = "rehearsal"
OVERRIDES = {"run": RUN, "heartbeat_seconds": "1", "checkpoint_seconds": "5"}
"""What a rehearsal sets: shorter intervals, because its training takes a minute and not hours."""
NEARLY = 0.9
POLL_SECONDS = 0.5
LIMIT_SECONDS = 1800
ENDING_SECONDS = 60


@dataclass(frozen=True)
class Strike:
    """Something that happens to the run when it has come so far."""

    share: float
    """Of the planned training steps."""
    act: Callable[[Status], None]
    due: Callable[[Status], bool] | None = None
    """When it is time, where the share does not say it."""


@contextmanager
def open_stage(screen: Screen, sandbox: Kind) -> Iterator[Stage]:
    """An account, a datacenter and a folder of its own, all gone afterwards, also after Ctrl-C."""
    with signals_unwind(), ExitStack() as stack:
        work = stack.enter_context(Workdir())
        aws = stack.enter_context(EmulatedAws(load_config(ROOT / "signspot.toml").machine.ami_parameter))
        (work / "boxes").mkdir()
        boxes = Datacenter(aws, work / "boxes", kind=sandbox, on_event=screen.happening)
        datacenter = stack.enter_context(boxes)
        stack.enter_context(screen)
        yield Stage(aws, datacenter, work, screen)


@contextmanager
def signals_unwind() -> Iterator[None]:
    """SIGTERM and SIGINT clean up as Ctrl-C does, also where a shell had them ignored for a background job."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stage:
    def __init__(self, aws: EmulatedAws, datacenter: Datacenter, work: Path, screen: Screen) -> None:
        self.aws = aws
        self.datacenter = datacenter
        self.work = work
        self.screen = screen
        self.environment = cdk.environment(aws.environment(os.environ))
        self.s3 = aws.client("s3")
        self.layout = RunLayout(RUN)
        self._told: set[str] = set()
        self.events: list[Event] = []
        self.interrupted: list[str] = []
        """Instances that were struck: what they still say does not count."""
        self._paused_until = 0

    def bootstrap(self) -> None:
        self.cdk(cdk.command("bootstrap", f"aws://{self.aws.account}/{self.aws.region}"))

    def deploy(self, app: str, *context: str) -> dict[str, str]:
        """`cdk deploy` of an app, or of a folder it was synthesised into; returns the stack's outputs."""
        self.cdk(cdk.deploy(app, *context))
        outputs = stack_outputs(self.aws.client("cloudformation"), RUN)
        self.screen.say("deploy", f"stack signspot-{RUN} is up; it can cost ${outputs['CeilingUsd']} at most")
        return outputs

    def cdk(self, command: list[str]) -> None:
        began, what = time.monotonic(), f"cdk {command[1]}"
        with self.screen.busy(what):
            cdk.run([*command, "--output", "cdk.out"], self.environment, self.work)
        self.screen.say(what, f"{time.monotonic() - began:.0f} s")

    def signspot(self, *arguments: str) -> str:
        return self.call([sys.executable, "-m", "cli", *arguments], cwd=Path.cwd())

    def call(self, command: list[str], cwd: Path | None = None, allowed: Sequence[int] = (0,)) -> str:
        done = subprocess.run(
            command, cwd=cwd or self.work, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode not in allowed:
            raise CloudError(
                f"{' '.join(command[:4])} … ended with {done.returncode}",
                why=(done.stdout + done.stderr).strip()[-3000:],
                mend="look at what it says above; `signspot --debug rehearse` shows the trace",
            )
        return done.stdout

    def watch(
        self,
        bucket: str,
        group: str | Sequence[str],
        strikes: Sequence[Strike] = (),
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """Follow the run as a user would, through S3, until it is done and dead; strike when it is time.

        Raises:
            CloudError: the run failed, was refused a permission, took longer than `limit_seconds`, or nothing is
                left of it.
        """
        pending = list(strikes)
        deadline = time.monotonic() + limit_seconds
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            if self.datacenter.error is not None:
                raise self.datacenter.error
            if self.aws.denied:
                raise self._failed("the box was refused what it needs")
            self._tell_events(bucket)
            gone = self._desired(group) == 0 and not self.datacenter.alive()
            status = self.status(bucket)  # after the look at the group: who ends it has written the status before
            if status is not None:
                self.screen.progress(status)
                if status.phase is Phase.DONE:
                    return self._wait_for_death(group)
                if status.phase.final:
                    raise self._failed(f"the run is {status.phase}: {status.reason}")
                if pending and self._is_due(status, pending[0]):
                    pending.pop(0).act(status)
            if gone:
                raise self._failed("every instance is gone and the run is not done")
        raise self._failed(f"the run is not done after {limit_seconds:g} s")

    def _is_due(self, status: Status, strike: Strike) -> bool:
        """At its share of the training, or before early stopping would end it untouched."""
        progress = status.progress
        if status.phase is not Phase.TRAINING or status.instance in self.interrupted:
            return False
        if strike.due:
            return strike.due(status)
        if progress.step <= self._paused_until:
            return False
        ending = progress.earliest_end and progress.step >= NEARLY * progress.earliest_end
        return progress.step >= strike.share * progress.steps > 0 or bool(ending)

    def pause_until_beyond(self, step: int) -> None:
        """No strike before the run has passed `step`: a trainer that was killed has to come back first."""
        self._paused_until = step

    def fetch_model(self, bucket: str, target: Path) -> None:
        fetch_model(self.s3, bucket, RUN, target)

    def _wait_for_death(self, group: str | Sequence[str]) -> None:
        deadline = time.monotonic() + ENDING_SECONDS
        while self.datacenter.alive() or self._desired(group):
            if self.aws.denied or time.monotonic() > deadline:
                raise self._failed("the run is done but its instance lives on")
            time.sleep(POLL_SECONDS)
        groups = "the group is" if isinstance(group, str) else "every group is"
        self.screen.say("AWS", f"{groups} at 0, no instance lives")

    def _failed(self, what: str) -> SignspotError:
        """With everything there is to know: what IAM refused, and the end of the last box's console."""
        denied = sorted({f"{denial.action} on {denial.resource}" for denial in self.aws.denied})
        box = self.datacenter.boxes[-1] if self.datacenter.boxes else None
        console = box.sandbox.console.read_text(errors="replace")[-3000:] if box else "no instance ever booted"
        return CloudError(
            what + (f"; refused by IAM: {', '.join(denied)}" if denied else ""),
            why=f"the end of the console of {box.instance_id if box else 'nothing'}:\n{console}",
            mend="docs/permissions.md says what each permission is for" if denied else "the console says more",
        )

    # --- what AWS says -----------------------------------------------------------------------------

    def status(self, bucket: str) -> Status | None:
        try:
            body = self.s3.get_object(Bucket=bucket, Key=self.layout.status)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None
        return Status.model_validate_json(body)

    def _tell_events(self, bucket: str) -> None:
        answer = self.s3.list_objects_v2(Bucket=bucket, Prefix=self.layout.events)
        for key in sorted(found["Key"] for found in answer.get("Contents", [])):
            if key not in self._told:
                self._told.add(key)
                event = Event.model_validate_json(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
                self.events.append(event)
                self.screen.say(event.instance, f"{event.kind}: {event.message}")

    def _desired(self, group: str | Sequence[str]) -> int:
        """Of all of them together."""
        names = [group] if isinstance(group, str) else list(group)
        groups = self.aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=names)
        return sum(one["DesiredCapacity"] for one in groups["AutoScalingGroups"])

    def stretches(self) -> tuple[Stretch, ...]:
        """What each instance did: where it began, where it ended, which steps it did again."""
        stretches: list[Stretch] = []
        reached = 0
        for box in self.datacenter.boxes:
            of_box = [event for event in self.events if event.instance == box.instance_id]
            restored = max((event.step for event in of_box if event.kind == "restored"), default=0)
            last = progress_of(box).step
            stretches.append(
                Stretch(
                    instance=box.instance_id,
                    seconds=box.seconds,
                    cause=box.cause,
                    restored_step=restored,
                    last_step=last,
                    repeated=max(0, reached - restored) if last else 0,
                )
            )
            reached = max(reached, last)
        return tuple(stretches)


def progress_of(box: Box) -> Progress:
    """Read off the disk of a box that may be dead: what it really did last, told to S3 or not."""
    try:
        return Progress.model_validate_json(box.sandbox.root.progress.read_bytes())
    except (OSError, ValidationError):
        return Progress()
