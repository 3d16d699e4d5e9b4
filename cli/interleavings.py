"""`signspot deaths --interleavings 100`: deploys, interruptions, crashes, redeploys and a destroy in any order.

Enters: a seed and a number. Leaves: a verdict on each interleaving and `interleavings.json`. After each: no instance
lives, nothing is left in the account, never two boxes at once, none at a higher price, none after the deadline or after
the group was at 0, the deadline where the first deploy put it, the sum within the ceiling that the stack printed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cli.assembly import Assembly, synthesise
from cli.deaths import SETTINGS, TIME_FORMAT, change_bundle, sample
from cli.interleavings_report import FILE, Story, Summary
from cli.inventory import left, take_inventory
from cli.rehearsal_screen import Screen
from cli.stage import RUN, Stage, open_stage
from contract.layout import RunLayout
from rehearsal.case import Case, processes_of
from rehearsal.datacenter import Box
from rehearsal.deaths import TRAINER, Death
from rehearsal.sandbox import Kind

PRICES = ("0.526", "0.4")
"""What two deploys differ in; with it the hours that the dollars buy."""
KEPT = ("StopAt", "MaxPricePerHour", "CeilingUsd", "Bucket", "Group")
"""Outputs of the stack that no redeploy may change."""
FIRST_PAUSES_SECONDS = (0.0, 1.0, 4.0, 8.0)
"""Before the first action; a box needs three to five to train."""
PAUSES_SECONDS = (0.0, 0.3, 1.0, 3.0)
"""Before each other."""
SETTLE_SECONDS = 1.0
"""After the destroy; the emulated group would have replaced an instance by then."""
REACTION_SECONDS = 4.0
"""The box gets the TERM of a shutdown and 2 s, the emulation looks five times a second, on a busy machine."""


class Interleaving:
    """Plays one on an account in which there is nothing else."""

    def __init__(self, stage: Stage, assemblies: tuple[Assembly, Assembly], seed: int, number: int) -> None:
        self.stage = stage
        self.assemblies = assemblies
        self.story = Story(number)
        self.random = random.Random(f"{seed} {number}")  # noqa: S311
        steps = self.random.choice((6, 12, 24, 1000))
        behaviour = self.random.choice(("well", "well", "well", "crash", "hang", "deaf", "barren"))
        self.death = Death("", lambda _: None, behaviour, steps)
        self.settings = self.random.choice((0, 1))
        self.zero_at: datetime | None = None

    def play(self) -> Story:
        aws = self.stage.aws
        before = take_inventory(aws.client)
        aws.clock = lambda: datetime.now(UTC)
        count = len(self.stage.datacenter.boxes)
        outputs = self._deploy(self.settings)
        stop_at = datetime.strptime(outputs["StopAt"], TIME_FORMAT).replace(tzinfo=UTC)
        names = outputs["Bucket"], outputs["Group"]
        self.case = Case(aws, self.stage.datacenter, RunLayout(RUN), *names, stop_at, count)
        self.first = outputs
        price = float(outputs["MaxPricePerHour"])
        hours = (stop_at - datetime.now(UTC)).total_seconds() / 3600
        if price * hours > float(outputs["CeilingUsd"]):
            self.story.wrong.append(f"{hours:.2f} hours at ${price} are allowed, ${outputs['CeilingUsd']} are printed")
        self.story.told.append(f"deploy of a trainer that goes {self.death.behaviour} for {self.death.steps} steps")
        try:
            self._act()
            self._pause(PAUSES_SECONDS)
            self._look()
            status = self.case.status()
            self.story.phase = str(status.phase) if status else self.story.phase
        finally:
            self.assemblies[0].destroy()
        self.story.told.append("destroy")
        destroyed = datetime.now(UTC)
        time.sleep(SETTLE_SECONDS)
        self._judge(destroyed)
        for kind, ids in left(before, take_inventory(aws.client)).items():
            if ids:
                self.story.wrong.append(f"{kind} left: {', '.join(sorted(ids))}")
        return self.story

    def _act(self) -> None:
        for number in range(self.random.randint(2, 6)):
            self._pause(PAUSES_SECONDS if number else FIRST_PAUSES_SECONDS)
            action = self.random.choice(ACTIONS)
            self.story.told.append(action.__name__.replace("_", " "))
            action(self)
            self._look()

    # --- what may happen ----------------------------------------------------------------------------

    def notice(self) -> None:
        if box := self._box():
            self.stage.datacenter.notice(box.instance_id, self.random.uniform(1.0, 4.0))

    def kill(self) -> None:
        if box := self._box():
            self.stage.datacenter.kill(box.instance_id)

    def trainer_crash(self) -> None:
        self._kill_process(TRAINER)

    def agent_kill(self) -> None:
        self._kill_process("bootstrap.agent")

    def redeploy(self) -> None:
        self._redeploy(self.settings)

    def redeploy_with_other_settings(self) -> None:
        self.settings = 1 - self.settings
        self._redeploy(self.settings)

    def scale_in(self) -> None:
        """A person sets the group to 0."""
        self.stage.aws.client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=self.case.group, DesiredCapacity=0
        )

    def deadline(self) -> None:
        self.case.pass_deadline()
        self.case.wait("the scheduled action", lambda: not self.case.desired(), 5)

    # --- ways and means -------------------------------------------------------------------------------

    def _pause(self, seconds: tuple[float, ...]) -> None:
        time.sleep(self.random.choice(seconds))

    def _box(self) -> Box | None:
        return self.case.alive[-1] if self.case.alive else None

    def _kill_process(self, word: str) -> None:
        if box := self._box():
            for process in processes_of(box, word):
                process.kill()

    def _deploy(self, settings: int) -> dict[str, str]:
        return self.assemblies[settings].deploy(bundle=change_bundle(self.death))

    def _redeploy(self, settings: int) -> None:
        outputs = self._deploy(settings)
        for name in KEPT:
            if outputs[name] != self.first[name]:
                self.story.wrong.append(f"a redeploy moved {name} from {self.first[name]} to {outputs[name]}")

    def _look(self) -> None:
        """Once the group is at 0 it stays there: a redeploy begins no run anew."""
        groups = self.stage.aws.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[self.case.group]
        )["AutoScalingGroups"]
        desired = groups[0]["DesiredCapacity"]
        price = groups[0]["MixedInstancesPolicy"]["InstancesDistribution"]["SpotMaxPrice"]
        if price != self.first["MaxPricePerHour"]:
            self.story.wrong.append(f"the group pays up to ${price}, not ${self.first['MaxPricePerHour']}")
        if desired and self.zero_at:
            self.story.wrong.append(f"the group was at 0 at {self.zero_at} and is at {desired} again")
        if not desired:
            self.zero_at = self.zero_at or datetime.now(UTC)

    def _judge(self, destroyed: datetime) -> None:
        boxes = self.case.boxes
        self.story.boxes = len(boxes)
        self.story.seconds = sum(box.seconds for box in boxes)
        late = timedelta(seconds=REACTION_SECONDS)
        self.story.wrong += [f"{box.instance_id} is alive after the destroy" for box in boxes if box.alive]
        for earlier, later in pairwise(boxes):
            if earlier.ended is None or earlier.ended > later.started:
                self.story.wrong.append(f"{later.instance_id} ran beside {earlier.instance_id}")
        for box in boxes:
            if self.zero_at and (box.started > self.zero_at or (box.ended or destroyed) > self.zero_at + late):
                self.story.wrong.append(f"{box.instance_id} ran when the group was at 0")
            if (box.ended or destroyed) > destroyed + late:
                self.story.wrong.append(f"{box.instance_id} outlived the stack")
        cost = self.story.seconds / 3600 * float(self.first["MaxPricePerHour"])
        if cost > float(self.first["CeilingUsd"]):
            self.story.wrong.append(f"${cost:.2f} at the highest price, of ${self.first['CeilingUsd']}")


ACTIONS: tuple[Callable[[Interleaving], None], ...] = (
    Interleaving.notice,
    Interleaving.notice,
    Interleaving.kill,
    Interleaving.kill,
    Interleaving.trainer_crash,
    Interleaving.agent_kill,
    Interleaving.redeploy,
    Interleaving.redeploy_with_other_settings,
    Interleaving.redeploy_with_other_settings,
    Interleaving.scale_in,
    Interleaving.deadline,
)


def make_apps(stage: Stage) -> tuple[Assembly, Assembly]:
    """The same run with two settings: the price, and with it the hours that the dollars buy."""
    data = sample(stage.work / "data")
    apps = [
        synthesise(
            stage.work / f"app-{price}",
            SETTINGS | {"data.path": str(data), "max_price_per_hour": price, "max_usd": "3"},
        )
        for price in PRICES
    ]
    first, second = (Assembly(app, RUN, stage.aws) for app in apps)
    return first, second


@dataclass(frozen=True)
class Campaign:
    count: int
    seed: int
    sandbox: Kind
    to: Path


def run_interleavings(campaign: Campaign, screen: Screen) -> Summary:
    """Plays those that were not played with this code yet; shows each; writes `interleavings.json` after each."""
    campaign.to.mkdir(parents=True, exist_ok=True)
    with open_stage(screen.quiet(), campaign.sandbox) as stage:
        assemblies = make_apps(stage)
        assemblies[0].bootstrap()
        summary = _begun(campaign, tuple(assembly.fingerprint for assembly in assemblies))
        for number in range(summary.interleavings, campaign.count):
            began = time.monotonic()
            story = Interleaving(stage, assemblies, campaign.seed, number).play()
            summary = summary.with_story(story, time.monotonic() - began)
            (campaign.to / FILE).write_text(summary.model_dump_json(indent=2) + "\n")
            screen.say(f"interleaving {number}", f"{'; '.join(story.told)}: {'; '.join(story.wrong) or 'over'}")
    return summary


def _begun(campaign: Campaign, code: tuple[str, ...]) -> Summary:
    """The same campaign as far as it came before, else a new one."""
    command = f"signspot deaths --interleavings {campaign.count} --seed {campaign.seed}"
    new = Summary(command=command, seed=campaign.seed, asked=campaign.count, code=code)
    try:
        before = Summary.model_validate_json((campaign.to / FILE).read_text())
    except FileNotFoundError:
        return new
    return before if (before.command, before.code) == (new.command, new.code) else new
