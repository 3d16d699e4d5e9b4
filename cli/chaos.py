"""`signspot chaos`: the real agent and trainer under every fault, many times, and what it cost them.

Enters: a seed, how often each fault strikes, a dataset. Leaves: a table, and what was found as JSON: good when no work
was lost beyond what is promised and every run ended with the weights of the undisturbed one.
"""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.assembly import synthesise
from cli.chaos_report import Found, Result, Setting, table
from cli.rehearsal_screen import Screen
from cli.stage import OVERRIDES, RUN, Stage, Strike, open_stage, progress_of
from contract.errors import ConfigError
from contract.status import Status
from rehearsal.datacenter import Box, Datacenter
from rehearsal.faults import FAULTS, Fault, Scene
from rehearsal.sandbox import Kind
from rehearsal.workdir import Workdir

FILE = "chaos.json"
CHECKPOINT_SECONDS = 5
SETTINGS = {**OVERRIDES, "checkpoint_seconds": str(CHECKPOINT_SECONDS), "run": RUN, "max_attempts": "20"}
EPOCHS = 20
"""Long enough for several interruptions, with early stopping off so that the plan is exact."""
FIRST, LAST = 0.12, 0.9
"""The part of the training in which faults strike."""


@dataclass(frozen=True)
class Campaign:
    data: Path | None
    per_fault: int
    seed: int
    sandbox: Kind
    only: str
    """Name of the one fault to play; empty: all."""
    to: Path


@dataclass
class Hit:
    box: Box
    fault: Fault
    at: float
    reached: int | None
    """Step at the loss; None: the box's last one, read when all is over."""


class Trace(threading.Thread):
    """Reads off the boxes' disks, five times a second, how far each trainer has come."""

    def __init__(self, datacenter: Datacenter) -> None:
        super().__init__(name="trace", daemon=True)
        self._datacenter = datacenter
        self._over = threading.Event()
        self.steps: dict[str, list[tuple[float, int]]] = {}

    def run(self) -> None:
        while not self._over.wait(0.2):
            for box in self._datacenter.alive():
                step = progress_of(box).step
                seen = self.steps.setdefault(box.instance_id, [])
                if step and (not seen or seen[-1][1] != step):
                    seen.append((time.monotonic(), step))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def first_after(self, instance: str, moment: float, step: int) -> float | None:
        """When a trainer that went on from `step` made its first new one; before that its predecessor may be seen."""
        later = [(at, now) for at, now in self.steps.get(instance, []) if at > moment]
        fallen = [index for index in range(1, len(later)) if later[index][1] < later[index - 1][1]]
        return next((at for at, now in later[fallen[0] if fallen else 0 :] if now > step), None)


def run_campaign(campaign: Campaign, screen: Screen) -> Found:
    """Plays every fault; shows the table; writes `chaos.json` after each.

    Raises:
        ConfigError: no fault is called so.
    """
    chosen = [fault for fault in FAULTS if campaign.only in ("", fault.name)]
    if not chosen:
        names = ", ".join(repr(fault.name) for fault in FAULTS)
        raise ConfigError(f"there is no fault {campaign.only!r}", mend=f"one of: {names}")
    with Workdir() as work:
        return _play_all(campaign, chosen, make_app(work, campaign.data), screen)


def _play_all(campaign: Campaign, faults: list[Fault], app: Path, screen: Screen) -> Found:
    calm = Play(campaign, app, None, screen).run()
    found = _begun(campaign, calm)
    screen.say("undisturbed", f"{calm.steps} steps, {calm.rate:.0f} a second; weights {calm.weights[:12]}")
    for fault in faults:
        if any(result.fault == fault.name for result in found.results):
            continue
        result = Play(campaign, app, fault, screen).run().result(calm)
        screen.say(fault.name, _summary(result))
        found = found.model_copy(update={"results": (*found.results, result)})
        campaign.to.mkdir(parents=True, exist_ok=True)
        (campaign.to / FILE).write_text(found.model_dump_json(indent=2) + "\n")
    screen.console.print(table(found.results))
    return found


def make_app(work: Path, data: Path | None) -> Path:
    """Our stack as `cdk synth` leaves it, once for all runs of the campaign."""
    folder = data.resolve() if data else work / "sample"
    if data is None:
        subprocess.run([sys.executable, "-m", "trainer.sample", str(folder)], check=True, stdout=subprocess.DEVNULL)
    settings = SETTINGS | {"data.path": str(folder), "epochs": str(EPOCHS), "patience": str(EPOCHS)}
    return synthesise(work / "cdk.out", settings)


def _summary(result: Result) -> str:
    verdict = "kept" if result.kept_promise else "BROKEN"
    return f"{result.interruptions} times, at most {max(result.steps_twice, default=0)} steps twice: promise {verdict}"


def _begun(campaign: Campaign, calm: Played) -> Found:
    """The same campaign as far as it came before, else a new one."""
    setting = Setting(
        seed=campaign.seed,
        per_fault=campaign.per_fault,
        data="synthetic sample" if campaign.data is None else campaign.data.name,
        checkpoint_seconds=CHECKPOINT_SECONDS,
        steps=calm.steps,
        weights=calm.weights,
    )
    new = Found(**setting.model_dump(), steps_per_second=round(calm.rate, 1))
    try:
        before = Found.model_validate_json((campaign.to / FILE).read_text())
    except FileNotFoundError:
        return new
    same = Setting.model_validate(before.model_dump()) == setting
    return new.model_copy(update={"results": before.results}) if same else new


@dataclass(frozen=True)
class Played:
    fault: Fault | None
    hits: int
    twice: list[int]
    seconds: list[float]
    refused: int
    weights: str
    steps: int
    rate: float
    """Training steps a second, the fastest that was seen."""

    def result(self, calm: Played) -> Result:
        assert self.fault is not None
        window = self.fault.intervals * CHECKPOINT_SECONDS + self.fault.s3_away_seconds
        return Result(
            fault=self.fault.name,
            with_notice=self.fault.with_notice,
            interruptions=self.hits,
            steps_twice=self.twice,
            steps_allowed=0 if self.fault.with_notice else round(window * max(calm.rate, self.rate)),
            seconds_to_training=[round(seconds, 1) for seconds in self.seconds],
            checkpoints_refused=self.refused,
            weights_equal=self.weights == calm.weights,
        )


class Play:
    """One run under one fault."""

    def __init__(self, campaign: Campaign, app: Path, fault: Fault | None, screen: Screen) -> None:
        self.campaign = campaign
        self.app = app
        self.fault = fault
        self.screen = screen
        self.random = random.Random(f"{campaign.seed} {fault.name if fault else ''}")  # noqa: S311
        self.hits: list[Hit] = []

    def run(self) -> Played:
        with open_stage(self.screen.quiet(), self.campaign.sandbox) as stage:
            trace = Trace(stage.datacenter)
            trace.start()
            try:
                stage.bootstrap()
                outputs = stage.deploy(str(self.app))
                bucket, group = outputs["Bucket"], outputs["Group"]
                count = self.campaign.per_fault if self.fault else 0
                shares = sorted(self.random.uniform(FIRST, LAST) for _ in range(count))
                strikes = [Strike(share, lambda status: self._strike(stage, bucket, status)) for share in shares]
                stage.watch(bucket, group, strikes)
            finally:
                trace.stop()
            return self._played(stage, trace, bucket)

    def _strike(self, stage: Stage, bucket: str, status: Status) -> None:
        assert self.fault is not None
        box = stage.datacenter.box(status.instance)
        scene = Scene(stage.aws, stage.datacenter, box, bucket, stage.layout, self.random)
        if self.fault.replaces:
            stage.interrupted.append(status.instance)
        else:
            stage.pause_until_beyond(status.progress.step)
        self.fault.strike(scene)
        lives_on = self.fault.name == "zombie box" or not self.fault.replaces
        self.hits.append(Hit(box, self.fault, time.monotonic(), progress_of(box).step if lives_on else None))

    def _played(self, stage: Stage, trace: Trace, bucket: str) -> Played:
        twice, seconds = [], []
        used = 0
        for hit in self.hits:
            reached = progress_of(hit.box).step if hit.reached is None else hit.reached
            if hit.fault.replaces:
                later = stage.datacenter.boxes[stage.datacenter.boxes.index(hit.box) + 1 :]
                heir = next((box for box in later if _resumed(box) or progress_of(box).step), None)
                if heir is None:  # a zombie that held the lease to the end: nobody had to go on
                    twice.append(0)
                    continue
                box, resumed = heir, _begins(1, _resumed(heir))[0]
                lost_at = hit.box.ended_monotonic if hit.reached is None else hit.at
            else:
                box, resumed, lost_at = hit.box, _begins(len(self.hits), _resumed(hit.box))[used], hit.at
                used += 1
            twice.append(max(0, reached - resumed))
            again = trace.first_after(box.instance_id, lost_at or hit.at, resumed)
            seconds.append((again or time.monotonic()) - (lost_at or hit.at))
        refused = sum("does not verify" in event.message for event in stage.events)
        rates = [
            (steps[-1][1] - steps[0][1]) / (steps[-1][0] - steps[0][0])
            for steps in trace.steps.values()
            if len(steps) > 10
        ]
        model = stage.work / "model"
        stage.fetch_model(bucket, model)
        final = max(progress_of(box).step for box in stage.datacenter.boxes)
        return Played(
            self.fault, len(self.hits), twice, seconds, refused, _weights(model), final, max(rates, default=0.0)
        )


def _resumed(box: Box) -> list[int]:
    """The step at which each trainer on the box went on, in order; a first one from zero is not in it."""
    try:
        log = (box.sandbox.root.logs / "trainer.log").read_text(errors="replace")
    except FileNotFoundError:
        return []
    return [int(found) for found in re.findall(r"^resumed at step (\d+)", log, re.MULTILINE)]


def _begins(restarts: int, resumed: Sequence[int]) -> list[int]:
    """Where each of so many restarts on one box began: before the first checkpoint was written, at step 0."""
    return [0] * (restarts - len(resumed)) + list(resumed)


def _weights(model: Path) -> str:
    """SHA-256 of the trained weights: Keras's archive carries its date, the weights within do not."""
    with zipfile.ZipFile(model / "model.keras") as archive:
        return hashlib.sha256(archive.read("model.weights.h5")).hexdigest()
