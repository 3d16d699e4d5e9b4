"""`signspot deaths --interleavings 100`: deploys, interruptions, crashes, redeploys and a destroy in any order.

Enters: a seed and a number. Leaves: a verdict on each interleaving and `interleavings.json`. After each: no instance
lives, nothing is left in the account, never two boxes at once, none at a higher price, none after the deadline or after
the group was at 0, the deadline where the first deploy put it, the sum within the ceiling that the stack printed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel

from cli.assembly import Assembly, synthesise
from cli.deaths import SETTINGS, TIME_FORMAT, change_bundle, sample
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
PAUSES_SECONDS = (0.0, 0.3, 1.0, 2.0, 5.0)
"""Before each action; a box needs two to four to train."""
SETTLE_SECONDS = 1.0
"""After the destroy; the emulated group would have replaced an instance by then."""
REACTION_SECONDS = 4.0
"""The box gets the TERM of a shutdown and 2 s, the emulation looks five times a second, on a busy machine."""


@dataclass
class Story:
    """One interleaving: what was done, and what is wrong with what followed."""

    number: int
    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    boxes: int = 0
    seconds: float = 0.0
    phase: str = "pending"
    """Of the run, when it was destroyed."""


class Summary(BaseModel):
    command: str
    seed: int
    interleavings: int
    asked: int
    seconds: float
    boxes: int
    instance_seconds: float
    actions: dict[str, int]
    phases: dict[str, int]
    """In which the runs were when they were destroyed."""
    wrong: dict[int, list[str]]

    @property
    def sentence(self) -> str:
        phases = ", ".join(f"{phase} {count}" for phase, count in self.phases.items())
        return (
            f"`{self.command}` played {self.interleavings} of {self.asked} interleavings (seed {self.seed}): "
            f"{sum(self.actions.values())} actions, {self.boxes} instances, {self.instance_seconds:.0f} s of instance "
            f"time, in {self.seconds / 60:.0f} minutes. What the runs were when they were destroyed: {phases}. After "
            f"{len(self.wrong)} of them an instance lived, a resource was left or a ceiling was exceeded."
        )


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
        self._act()
        self._pause()
        self._look()
        status = self.case.status()
        self.story.phase = str(status.phase) if status else self.story.phase
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
        for _ in range(self.random.randint(2, 6)):
            self._pause()
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

    def _pause(self) -> None:
        time.sleep(self.random.choice(PAUSES_SECONDS))

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


def run_interleavings(campaign: Campaign) -> int:
    """Plays them; prints each; writes `interleavings.json` after each. Returns 0 when nothing was wrong."""
    screen = Screen()
    stories: list[Story] = []
    began = time.monotonic()
    try:
        with open_stage(screen.quiet(), campaign.sandbox) as stage:
            assemblies = make_apps(stage)
            assemblies[0].bootstrap()
            for number in range(campaign.count):
                story = Interleaving(stage, assemblies, campaign.seed, number).play()
                stories.append(story)
                screen.say(f"interleaving {number}", f"{'; '.join(story.told)}: {'; '.join(story.wrong) or 'over'}")
                _write(campaign, stories, time.monotonic() - began)
    except KeyboardInterrupt:
        screen.say("stopped", "everything that was started is gone")
        return 130
    return 1 if any(story.wrong for story in stories) else 0


def _write(campaign: Campaign, stories: list[Story], seconds: float) -> None:
    campaign.to.mkdir(parents=True, exist_ok=True)
    actions = Counter(word.partition(" of ")[0] for story in stories for word in story.told)
    summary = Summary(
        command=f"signspot deaths --interleavings {campaign.count} --seed {campaign.seed}",
        seed=campaign.seed,
        interleavings=len(stories),
        asked=campaign.count,
        seconds=round(seconds, 1),
        boxes=sum(story.boxes for story in stories),
        instance_seconds=round(sum(story.seconds for story in stories), 1),
        actions=dict(sorted(actions.items())),
        phases=dict(sorted(Counter(story.phase for story in stories).items())),
        wrong={story.number: story.wrong for story in stories if story.wrong},
    )
    (campaign.to / "interleavings.json").write_text(summary.model_dump_json(indent=2) + "\n")
