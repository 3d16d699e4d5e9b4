"""`signspot rehearse --boxes 3`: a whole cluster, told step by step. Enters: a plan. Leaves: a report.

A head and workers as boxes on this machine, a real Ray cluster between them. In the middle of the work a worker is
taken away without notice, then the head; the others go on, and at the end nothing lives and nothing is left.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import computed_field
from rich.table import Table

from cli import cdk
from cli.inventory import left, take_inventory
from cli.live import groups_of
from cli.rehearsal_screen import Screen
from cli.schemas import Printed
from cli.stage import OVERRIDES, RUN, Stage, Strike, open_stage
from contract.status import Status
from rehearsal.sandbox import Kind

CLIPS = 16
FRAMES = 120
BOXES = {
    "RAY_OPTIONS": "--object-store-memory=80000000",
    "RAY_WORKER_OPTIONS": "--num-cpus=1",
    "UV_OFFLINE": "0",
}
"""What makes several boxes fit on one machine. Their packages come from uv's cache or the index: `make setup` does not
bring those of a cluster."""
WORKER_STRIKE, HEAD_STRIKE = 0.25, 0.5
"""Shares of the work."""


@dataclass(frozen=True)
class ClusterPlan:
    job: str
    workers: int
    data: Path | None
    sandbox: Kind
    to: Path
    settings: Mapping[str, str]


class Lived(Printed):
    """One box of the cluster."""

    instance: str
    seconds: float
    cause: str
    """What ended it."""


class ClusterReport(Printed):
    """What a rehearsal of a cluster came to."""

    job: str
    boxes: tuple[Lived, ...]
    wanted: int
    """Clips, or trials."""
    done: int
    same: bool
    """Whether that is, byte for byte, what this machine makes alone."""
    taken_away: tuple[str, ...]
    """`worker` and `head`, in order."""
    left: dict[str, tuple[str, ...]]
    """In the account, of each kind that was asked for."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def good(self) -> bool:
        """All is done although a worker and the head were lost, and nothing is left."""
        nothing = not any(self.left.values())
        return self.done == self.wanted and self.same and self.taken_away == ("worker", "head") and nothing


def rehearse_cluster(plan: ClusterPlan, screen: Screen) -> ClusterReport:
    with open_stage(screen, plan.sandbox) as stage:
        return ClusterRehearsal(plan, stage).run()


class ClusterRehearsal:
    def __init__(self, plan: ClusterPlan, stage: Stage) -> None:
        self.plan = plan
        self.stage = stage
        self.screen = stage.screen
        self._taken_away: list[str] = []

    def run(self) -> ClusterReport:
        stage, plan = self.stage, self.plan
        data = plan.data.resolve() if plan.data else make_clips(stage.work / "clips", self.screen)
        stage.datacenter.environment.update(BOXES)
        self.screen.say("AWS", f"emulated on this machine at {stage.aws.endpoint}")
        stage.bootstrap()
        before = take_inventory(stage.aws.client)
        own = {"boxes": str(plan.workers), "job": plan.job, "data.path": str(data), "max_usd": "5"}
        settings = {**OVERRIDES, **own, **plan.settings, "run": RUN}
        outputs = stage.deploy(cdk.APP, *(word for item in settings.items() for word in ("-c", "=".join(item))))
        strikes = [Strike(WORKER_STRIKE, self._take_worker), Strike(HEAD_STRIKE, self._take_head)]
        stage.watch(outputs["Bucket"], groups_of(outputs), strikes)
        stage.signspot("fetch", RUN, "--to", str(plan.to))
        model = plan.to / RUN / "model"
        self.screen.say("fetch", f"what was made is in {model}, every hash verified")
        wanted, done, same = self._compare(data, model)
        self.screen.say("destroy", stage.signspot("destroy", RUN, "--to", str(plan.to)).strip().splitlines()[-1])
        boxes = (
            Lived(instance=box.instance_id, seconds=box.seconds, cause=box.cause) for box in stage.datacenter.boxes
        )
        report = ClusterReport(
            job=plan.job,
            boxes=tuple(boxes),
            wanted=wanted,
            done=done,
            same=same,
            taken_away=tuple(self._taken_away),
            left={kind: tuple(sorted(ids)) for kind, ids in left(before, take_inventory(stage.aws.client)).items()},
        )
        self._show(report)
        return report

    def _take_worker(self, status: Status) -> None:
        worker = next(box for box in self.stage.datacenter.alive() if box.instance_id != status.instance)
        self._take("worker", worker.instance_id, status)

    def _take_head(self, status: Status) -> None:
        self.stage.interrupted.append(status.instance)
        self._take("head", status.instance, status)

    def _take(self, what: str, instance: str, status: Status) -> None:
        at = f"{status.progress.step} of {status.progress.steps}"
        self.screen.say("AWS", f"the {what} {instance} is gone at {at}, without notice")
        self._taken_away.append(what)
        self.stage.datacenter.kill(instance)

    def _compare(self, data: Path, made: Path) -> tuple[int, int, bool]:
        """How many clips there are, how many were made, and whether this machine alone makes the same."""
        alone = self.stage.work / "alone"
        model = data / "hand_landmarker.task"
        given = ["--model", str(model)] if model.exists() else []
        self.stage.call(
            [sys.executable, "-m", "trainer.extract", str(data), "--to", str(alone), *given], allowed=(0, 7)
        )
        expected = {path.relative_to(alone): path.read_bytes() for path in alone.rglob("*.npy")}
        found = {path.relative_to(made): path.read_bytes() for path in made.rglob("*.npy")}
        self.screen.say("compare", f"{len(found)} of {len(expected)} clips; the same bytes: {found == expected}")
        return len(expected), len(found), found == expected

    def _show(self, report: ClusterReport) -> None:
        table = Table("instance", "seconds", "ended by")
        for box in report.boxes:
            table.add_row(box.instance, f"{box.seconds:.0f}", box.cause)
        console = self.screen.console
        console.print()
        console.print(table)
        console.print(f"done              {report.done} of {report.wanted}, as one machine does it: {report.same}")
        console.print(f"taken away        {', '.join(report.taken_away)}")
        things = json.dumps(report.left) if any(report.left.values()) else "0"
        console.print(f"left in the account: {things}")


def make_clips(folder: Path, screen: Screen) -> Path:
    """Synthetic clips without a hand, and the hand model beside them, where this user has it."""
    import os

    import cv2
    import numpy as np

    for number in range(CLIPS):
        path = folder / f"word{number % 4}" / f"clip-{number}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), code, 25, (320, 240))
        for frame in range(FRAMES):
            picture = np.full((240, 320, 3), 60 + number, np.uint8)
            picture[40:80, frame : frame + 40] = 200
            writer.write(picture)
        writer.release()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "signspot/hand_landmarker.task"
    if cache.exists():
        shutil.copy(cache, folder)
    screen.say("data", f"{CLIPS} synthetic clips of {FRAMES} frames")
    return folder
