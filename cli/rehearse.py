"""`signspot rehearse`: a whole run, told step by step. Enters: a plan. Leaves: a report and an exit code.

Everything the user would type is run as the user would type it: the CDK CLI, `signspot fetch`, `signspot
predict`. Only the address of AWS is another one.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from cli.fetch import stack_outputs
from cli.inventory import left, take_inventory
from cli.rehearsal_screen import Report, Screen, Stretch
from contract.config import load_config
from contract.errors import CloudError, DataError, SignspotError
from contract.layout import RunLayout
from contract.status import Event, Phase, Progress, Status
from rehearsal.aws import EmulatedAws
from rehearsal.datacenter import Box, Datacenter
from rehearsal.sandbox import Kind, namespaces_refused
from rehearsal.workdir import Workdir

ROOT = Path(__file__).resolve().parents[1]
RUN = "rehearsal"
OVERRIDES = {"run": RUN, "heartbeat_seconds": "1", "checkpoint_seconds": "5"}
"""What a rehearsal sets: shorter intervals, because its training takes a minute and not hours."""
SAMPLE_EPOCHS = 30
"""Of the synthetic sample, so that a rehearsal is over in minutes."""
NEARLY = 0.9
POLL_SECONDS = 0.5
LIMIT_SECONDS = 1800
ENDING_SECONDS = 60


@dataclass(frozen=True)
class Plan:
    data: Path | None
    interruptions: int
    with_notice: bool
    keep: bool
    notice_seconds: float
    sandbox: Kind
    to: Path
    settings: Mapping[str, str]
    """Settings that differ from signspot.toml, by name."""


def rehearse_run(plan: Plan) -> int:
    """Returns 0 when every interruption was survived, the model predicts and nothing is left in the account."""
    screen = Screen()
    try:
        with _signals_unwind(), ExitStack() as stack:
            work = stack.enter_context(Workdir())
            config = load_config(ROOT / "signspot.toml", OVERRIDES)
            aws = stack.enter_context(EmulatedAws(config.machine.ami_parameter))
            (work / "boxes").mkdir()
            boxes = Datacenter(aws, work / "boxes", kind=plan.sandbox, on_event=screen.happening)
            datacenter = stack.enter_context(boxes)
            stack.enter_context(screen)
            return Rehearsal(plan, aws, datacenter, work, screen).run()
    except KeyboardInterrupt:
        screen.say("stopped", "everything that was started is gone")
        return 130


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """SIGTERM and SIGINT clean up as Ctrl-C does, also where a shell had them ignored for a background job."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Rehearsal:
    def __init__(self, plan: Plan, aws: EmulatedAws, datacenter: Datacenter, work: Path, screen: Screen) -> None:
        self.plan = plan
        self.aws = aws
        self.datacenter = datacenter
        self.work = work
        self.screen = screen
        self.environment = aws.environment(os.environ) | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "CDK_DISABLE_VERSION_CHECK": "1",
            "NO_COLOR": "1",
        }
        self.s3 = aws.client("s3")
        self.layout = RunLayout(RUN)
        self._told: set[str] = set()
        self.events: list[Event] = []
        self.interrupted: list[str] = []

    def run(self) -> int:
        data, settings = self._settings()
        file, label = _test_example(data, load_config(ROOT / "signspot.toml", settings).data.table)
        self.screen.say("AWS", f"emulated on this machine at {self.aws.endpoint}")
        refused = namespaces_refused(self.work) if self.plan.sandbox == "auto" else ""
        if refused:
            self.screen.say("AWS", f"instances are plain processes, because namespaces are refused here: {refused}")
        self.bootstrap()
        before = take_inventory(self.aws.client)
        context = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        app = ("--app", f"{sys.executable} {ROOT / 'app.py'}", *context)
        outputs = self.deploy(*app)
        self.watch(outputs["Bucket"], outputs["Group"])
        model = self.plan.to / RUN / "model"
        self._signspot("fetch", RUN, "--to", str(self.plan.to))
        metrics = json.loads((model / "metrics.json").read_text())
        self.screen.say("fetch", f"model in {model}, every hash verified")
        answer = self._signspot("predict", str(model), str(file)).strip()
        self.screen.say("predict", f"{file.name} (labelled {label!r}): {answer.splitlines()[0]}")
        if self.plan.keep:
            self._wait_for_ctrl_c()
        self._cdk("destroy", "--force", *app)
        remaining = left(before, take_inventory(self.aws.client))
        report = Report(
            stretches=self._stretches(),
            events=tuple(self.events),
            accuracy=metrics.get("test_accuracy"),
            answer=answer,
            interruptions_planned=self.plan.interruptions,
            interruptions=len(self.interrupted),
            notice_seconds=self.plan.notice_seconds if self.plan.with_notice else None,
            left=remaining,
        )
        self.screen.report(report)
        return 0 if report.good else 1

    # --- the steps ---------------------------------------------------------------------------------

    def _settings(self) -> tuple[Path, dict[str, str]]:
        """The folder to train on, and every setting that differs from signspot.toml."""
        if self.plan.data is not None:
            return self.plan.data.resolve(), {
                **OVERRIDES,
                "data.path": str(self.plan.data.resolve()),
                **self.plan.settings,
            }
        folder = self.work / "sample"
        self._run([sys.executable, "-m", "trainer.sample", str(folder)])
        self.screen.say("data", "a synthetic sample: a kinematic hand signing a few words")
        sample = {"data.path": str(folder), "epochs": str(SAMPLE_EPOCHS)}
        return folder, {**OVERRIDES, **sample, **self.plan.settings}

    def bootstrap(self) -> None:
        self._cdk("bootstrap", f"aws://{self.aws.account}/{self.aws.region}")

    def deploy(self, *app: str) -> dict[str, str]:
        """`cdk deploy` of an app, or of a folder it was synthesised into; returns the stack's outputs."""
        self._cdk("deploy", "--require-approval", "never", *app)
        outputs = stack_outputs(self.aws.client("cloudformation"), RUN)
        self.screen.say("deploy", f"stack signspot-{RUN} is up; it can cost ${outputs['CeilingUsd']} at most")
        return outputs

    def _cdk(self, command: str, *arguments: str) -> None:
        began = time.monotonic()
        with self.screen.busy(f"cdk {command}"):
            self._run(
                [
                    *(str(ROOT / "node_modules/.bin/cdk"), command, "--no-notices", "--ci", "--output", "cdk.out"),
                    *arguments,
                ]
            )
        self.screen.say(f"cdk {command}", f"{time.monotonic() - began:.0f} s")

    def _signspot(self, *arguments: str) -> str:
        return self._run([sys.executable, "-m", "cli", *arguments], cwd=Path.cwd())

    def _run(self, command: list[str], cwd: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=cwd or self.work, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CloudError(
                f"{' '.join(command[:4])} … ended with {done.returncode}",
                why=(done.stdout + done.stderr).strip()[-3000:],
                mend="look at what it says above; `signspot --debug rehearse` shows the trace",
            )
        return done.stdout

    def watch(self, bucket: str, group: str) -> None:
        """Follow the run as a user would, through S3; take instances away when their time has come."""
        marks = [(number + 1) / (self.plan.interruptions + 2) for number in range(self.plan.interruptions)]
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            if self.datacenter.error is not None:
                raise self.datacenter.error
            if self.aws.denied:
                raise self._failed("the box was refused what it needs")
            self._tell_events(bucket)
            status = self._status(bucket)
            if status is not None:
                self.screen.progress(status)
                if status.phase is Phase.DONE:
                    return self._wait_for_death(group)
                if status.phase.final:
                    raise self._failed(f"the run is {status.phase}: {status.reason}")
                if marks and self._is_due(status, marks[0]):
                    marks.pop(0)
                    self._interrupt(status)
            if self._desired(group) == 0 and not self.datacenter.alive():
                raise self._failed("every instance is gone and the run is not done")
        raise self._failed(f"the run is not done after {LIMIT_SECONDS} s")

    def _is_due(self, status: Status, share: float) -> bool:
        """At its share of the training, or before early stopping would end it untouched."""
        progress = status.progress
        if status.phase is not Phase.TRAINING or status.instance in self.interrupted:
            return False
        ending = progress.earliest_end and progress.step >= NEARLY * progress.earliest_end
        return progress.step >= share * progress.steps > 0 or bool(ending)

    def _interrupt(self, status: Status) -> None:
        self.interrupted.append(status.instance)
        at = f"at step {status.progress.step} of {status.progress.steps}"
        if self.plan.with_notice:
            shortened = "" if self.plan.notice_seconds == 120 else " (shortened from 120)"
            self.screen.say(
                "AWS", f"notice to {status.instance} {at}: gone in {self.plan.notice_seconds:g} s{shortened}"
            )
            self.datacenter.notice(status.instance, self.plan.notice_seconds)
        else:
            self.screen.say("AWS", f"{status.instance} is gone {at}, without notice")
            self.datacenter.kill(status.instance)

    def _wait_for_death(self, group: str) -> None:
        deadline = time.monotonic() + ENDING_SECONDS
        while self.datacenter.alive() or self._desired(group):
            if self.aws.denied or time.monotonic() > deadline:
                raise self._failed("the run is done but its instance lives on")
            time.sleep(POLL_SECONDS)
        self.screen.say("AWS", "the group is at 0, no instance lives")

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

    def _wait_for_ctrl_c(self) -> None:
        exports = [f"export {name}={value}" for name, value in self.environment.items() if name.startswith("AWS_")]
        self.screen.say("keep", "left up; in another terminal:\n" + "\n".join(exports) + "\nCtrl-C ends it")
        try:
            signal.pause()
        except KeyboardInterrupt:
            self.screen.say("keep", "taken down now")

    # --- what AWS says -----------------------------------------------------------------------------

    def _status(self, bucket: str) -> Status | None:
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

    def _desired(self, group: str) -> int:
        groups = self.aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        return groups["AutoScalingGroups"][0]["DesiredCapacity"]

    def _stretches(self) -> tuple[Stretch, ...]:
        """What each instance did: where it began, where it ended, which steps it did again."""
        stretches: list[Stretch] = []
        reached = 0
        for box in self.datacenter.boxes:
            of_box = [event for event in self.events if event.instance == box.instance_id]
            restored = max((event.step for event in of_box if event.kind == "restored"), default=0)
            last = _progress(box).step
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


def _progress(box: Box) -> Progress:
    """Read off the disk of a box that may be dead: what it really did last, told to S3 or not."""
    try:
        return Progress.model_validate_json(box.sandbox.root.progress.read_bytes())
    except (OSError, ValidationError):
        return Progress()


def _test_example(data: Path, table: str) -> tuple[Path, str]:
    """The first sequence of the test split, and its label.

    Raises:
        DataError: there is no table, or no such sequence.
    """
    try:
        with (data / table).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get("split") == "test":
                    return data / row["path"], row["label"]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise DataError(
            f"{data / table} cannot be read", why=repr(error), mend="--data names the folder that holds dataset.csv"
        ) from error
    raise DataError(f"{data / table} has no row of the test split", mend="give some sequences the split `test`")
