"""`signspot rehearse --boxes 3`: a whole cluster, told step by step. Enters: a plan. Leaves: a report.

A head and workers as boxes on this machine, a real Ray cluster between them. In the middle of the work a worker is
taken away without notice, then the head; the others go on, and at the end nothing lives and nothing is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, computed_field
from rich.table import Table

from cli import cdk
from cli.inventory import left, take_inventory
from cli.live import groups_of
from cli.rehearsal_screen import Screen
from cli.rehearsal_work import Outcome, Work, work_of
from cli.stage import OVERRIDES, RUN, Stage, Strike, open_stage
from contract.config import load_config
from contract.status import Status
from rehearsal.sandbox import Kind

BOXES = {
    "RAY_OPTIONS": "--object-store-memory=80000000",
    "RAY_WORKER_OPTIONS": "--num-cpus=1",
    "UV_OFFLINE": "0",
}
"""What makes several boxes fit on one machine. Their packages come from uv's cache or the index: `make setup` does not
bring those of a cluster."""


@dataclass(frozen=True)
class ClusterPlan:
    job: Literal["sweep", "extract"]
    workers: int
    data: Path | None
    sandbox: Kind
    to: Path
    settings: Mapping[str, str]


class Lived(BaseModel):
    """One box of the cluster."""

    instance: str
    seconds: float
    cause: str
    """What ended it."""


class ClusterReport(BaseModel):
    """What a rehearsal of a cluster came to."""

    job: str
    boxes: tuple[Lived, ...]
    outcome: Outcome
    taken_away: tuple[str, ...]
    """`worker` and `head`, in order."""
    left: dict[str, tuple[str, ...]]
    """In the account, of each kind that was asked for."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def good(self) -> bool:
        """All is done although a worker and the head were lost, nothing was lost with them, and nothing is left."""
        done = self.outcome.done == self.outcome.wanted and self.outcome.whole
        return done and self.taken_away == ("worker", "head") and not any(self.left.values())


def rehearse_cluster(plan: ClusterPlan, screen: Screen) -> ClusterReport:
    with open_stage(screen, plan.sandbox) as stage:
        return ClusterRehearsal(plan, stage).run()


class ClusterRehearsal:
    def __init__(self, plan: ClusterPlan, stage: Stage) -> None:
        self.plan = plan
        self.stage = stage
        self.screen = stage.screen
        interval = load_config(None, {**OVERRIDES, **plan.settings}).sync.checkpoint_seconds
        self.work: Work = work_of(plan.job, stage, plan.data, interval)
        self._taken_away: list[str] = []

    def run(self) -> ClusterReport:
        stage, plan = self.stage, self.plan
        own = {"boxes": str(plan.workers), "job": plan.job, **self.work.prepare()}
        stage.datacenter.environment.update(BOXES)
        self.screen.say("AWS", f"emulated on this machine at {stage.aws.endpoint}")
        stage.bootstrap()
        before = take_inventory(stage.aws.client)
        settings = {**OVERRIDES, **own, **plan.settings, "run": RUN}
        outputs = stage.deploy(cdk.APP, *(word for item in settings.items() for word in ("-c", "=".join(item))))
        worker, head = self.work.dues
        strikes = [Strike(0, self._take_worker, worker), Strike(0, self._take_head, head)]
        self.work.bucket = outputs["Bucket"]
        stage.watch(outputs["Bucket"], groups_of(outputs), strikes)
        stage.signspot("fetch", RUN, "--to", str(plan.to))
        made = plan.to / RUN / "model"
        self.screen.say("fetch", f"what was made is in {made}, every hash verified")
        outcome = self.work.judge(made)
        self.screen.say("compare", outcome.message)
        self.screen.say("destroy", stage.signspot("destroy", RUN, "--to", str(plan.to)).strip().splitlines()[-1])
        boxes = (
            Lived(instance=one.instance_id, seconds=one.seconds, cause=one.cause) for one in stage.datacenter.boxes
        )
        report = ClusterReport(
            job=plan.job,
            boxes=tuple(boxes),
            outcome=outcome,
            taken_away=tuple(self._taken_away),
            left={kind: tuple(sorted(ids)) for kind, ids in left(before, take_inventory(stage.aws.client)).items()},
        )
        self._show(report)
        return report

    def _take_worker(self, status: Status) -> None:
        workers = [box.instance_id for box in self.stage.datacenter.alive() if box.instance_id != status.instance]
        self._take("worker", self.work.busy(workers), status)

    def _take_head(self, status: Status) -> None:
        self.stage.interrupted.append(status.instance)
        self._take("head", status.instance, status)

    def _take(self, what: str, instance: str, status: Status) -> None:
        self.screen.say("AWS", f"the {what} {instance} is gone at step {status.progress.step}, without notice")
        self._taken_away.append(what)
        self.work.note()
        self.stage.datacenter.kill(instance)

    def _show(self, report: ClusterReport) -> None:
        table = Table("instance", "seconds", "ended by")
        for box in report.boxes:
            table.add_row(box.instance, f"{box.seconds:.0f}", box.cause)
        facts = Table.grid(padding=(0, 2))
        facts.add_row("done", f"{report.outcome.done} of {report.outcome.wanted}: {report.outcome.message}")
        facts.add_row("taken away", ", ".join(report.taken_away))
        things = [f"{kind} {', '.join(ids)}" for kind, ids in report.left.items() if ids]
        facts.add_row("left in the account", "; ".join(things) or f"0  ({len(report.left)} kinds asked)")
        console = self.screen.console
        console.print()
        console.print(table)
        console.print(facts)
