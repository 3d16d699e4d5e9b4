"""`signspot deploy`: check, plan, ask, deploy, wait for the first training step. Enters: settings. Leaves: a run that
trains, or a group at 0.

The CDK CLI does what it does by hand: what is deployed is the cloud assembly that the plan was counted from.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from cli import cdk
from cli.check import Laptop, check, show
from cli.fetch import Say, stack_outputs
from cli.first_step import Wait, activities, furthest
from cli.keys import find_key
from cli.preflight.facts import Up
from cli.project import HOME, Project, open_project
from cli.stop import Patience
from cli.tell import tell
from contract.ceiling import Ceiling
from contract.errors import CloudError, SignspotError
from contract.status import Phase, Status

HELPERS = ("AWS::CDK::Metadata",)
"""Not a thing in the account."""


@dataclass(frozen=True)
class Order:
    settings: Sequence[str]
    yes: bool
    wait_minutes: float
    """0: do not wait."""


class Outcome(BaseModel):
    """What `signspot deploy --json` prints."""

    run: str
    region: str
    new: bool
    """False: the stack was there before, and keeps its limits."""
    resources: dict[str, int]
    """By CloudFormation's type."""
    ceiling_usd: float
    stop_at: datetime
    phase: Phase | None
    """None: it was not waited for."""
    instance: str = ""
    step: int = 0
    seconds: float = 0.0
    """From the end of the deploy to the first step that was seen."""


class NotReady(SignspotError):
    """A check failed; nothing was created."""


def deploy_run(
    order: Order,
    laptop: Laptop,
    console: Console,
    confirm: Callable[[str], None],
    environment: dict[str, str] | None = None,
) -> Outcome:
    """`confirm` asks, and raises when the answer is no.

    Raises:
        NotReady: a check failed. CloudError: AWS or the CDK CLI refused, or no training step came in time.
        TrainerError: the run failed.
    """
    project, environment = open_project(order.settings), environment or cdk.environment()
    with console.status("checking …"):
        report, facts = check(project, laptop)
    show(report, console)
    if not report.good:
        raise NotReady(f"run {project.run!r} is not ready; nothing was created", mend="see what it says above")
    project = project.opened(laptop.address, lambda: find_key(laptop.home))
    with TemporaryDirectory(prefix="signspot-deploy-") as work:
        assembly = Path(work) / "cdk.out"
        with console.status("synthesising …"):
            _synthesise(project, assembly, environment)
        resources = count_resources(assembly / f"signspot-{project.run}.template.json")
        ceiling = (
            facts.up.ceiling
            if facts.up
            else Ceiling.of(project.config.limits, datetime.now(UTC), project.config.machine)
        )
        console.print(plan_table(project, resources, ceiling, facts.up))
        if not order.yes:
            confirm("Deploy?")
        known = _known(laptop, facts.up)
        _deploy(project, assembly, environment, console)
    began = time.monotonic()
    outputs = stack_outputs(laptop.client("cloudformation"), project.run)
    say = teller(console, began)
    say("deploy", f"the stack is up: at most ${outputs['CeilingUsd']}, until {outputs['StopAt']}")
    outcome = Outcome(
        run=project.run,
        region=report.region or "",
        new=facts.up is None,
        resources=resources,
        ceiling_usd=float(outputs["CeilingUsd"]),
        stop_at=datetime.fromisoformat(outputs["StopAt"]),
        phase=None,
    )
    if facts.up and not facts.up.desired:
        say("group", f"it is at 0, and a deploy starts nothing: signspot restart {project.run}")
    elif order.wait_minutes > 0:
        status = _wait(order, project, laptop, outputs, say, known)
        seconds = time.monotonic() - began
        progress = {"phase": status.phase, "instance": status.instance, "step": furthest(status)}
        outcome = outcome.model_copy(update={**progress, "seconds": seconds})
        say("deploy", f"it trains: step {outcome.step}, {seconds:.0f} s after the deploy")
    console.print(f"signspot status {project.run} --watch    signspot logs {project.run} -f    ", markup=False)
    console.print(f"signspot stop {project.run}    signspot destroy {project.run}", markup=False)
    return outcome


def _synthesise(project: Project, target: Path, environment: dict[str, str]) -> None:
    arguments = ("--quiet", "--output", str(target), "--app", cdk.APP, *project.context)
    cdk.run(cdk.command("synth", *arguments), environment, HOME)


def count_resources(template: Path) -> dict[str, int]:
    """How many of each of CloudFormation's types a template has."""
    body: dict[str, Any] = json.loads(template.read_text(encoding="utf-8"))
    kinds = Counter(one["Type"] for one in body["Resources"].values())
    return {kind: number for kind, number in sorted(kinds.items()) if kind not in HELPERS}


def plan_table(project: Project, resources: dict[str, int], ceiling: Ceiling, up: Up | None) -> Table:
    """The plan on one screen."""
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    what = "changes what is there of" if up else "creates"
    table.add_row("stack", Text(f"{what} signspot-{project.run}: {sum(resources.values())} resources"))
    for service, things in _by_service(resources).items():
        table.add_row(Text(f"  {service}", "dim"), Text(", ".join(things)))
    machine, access = project.config.machine, project.config.access
    types, several = " or ".join(machine.instance_types), machine.boxes > 1
    boxes = f"{machine.boxes} spot {types} and one {machine.head_type} on demand" if several else f"one spot {types}"
    table.add_row("machines" if several else "machine", f"{boxes} at most, {machine.volume_gb} GB{' each' * several}")
    kept = "; kept from its first deploy" if up else ""
    table.add_row("at most", f"${ceiling.usd:f} of instance time, until {ceiling.stop_at:%Y-%m-%d %H:%M} UTC{kept}")
    table.add_row(
        "besides",
        f"volume and address about $0.02 an hour{' and box' * several} while it runs, the bytes in its bucket",
    )
    table.add_row("SSH", f"from {access.ssh_from} alone" if access.addresses == 1 else _door(access.ssh_from))
    return table


def _by_service(resources: dict[str, int]) -> dict[str, list[str]]:
    """`EC2` → `VPC`, `6 Subnet`, …"""
    found: dict[str, list[str]] = {}
    for kind, number in resources.items():
        service, _, thing = kind.removeprefix("AWS::").partition("::")
        found.setdefault(service, []).append(f"{number} {thing}" if number > 1 else thing)
    return found


def _name(kind: str) -> str:
    """`AWS::EC2::Subnet` → `EC2 Subnet`."""
    return " ".join(part for part in kind.split("::") if part not in ("AWS", "Custom"))


def _door(ssh_from: str) -> str:
    return "closed: no port is open" if ssh_from == "none" else f"OPEN TO MANY ADDRESSES: {ssh_from}"


def _known(laptop: Laptop, up: Up | None) -> set[str]:
    if up is None:
        return set()
    return {f"{one['ActivityId']} {one['StatusCode']}" for one in activities(laptop.client, up.groups)}


def _deploy(project: Project, assembly: Path, environment: dict[str, str], console: Console) -> None:
    try:
        with following(console) as hear:
            cdk.run(cdk.deploy(str(assembly)), environment, HOME, hear)
    except KeyboardInterrupt:
        console.print(
            f"stopped here, but CloudFormation goes on with what it began. signspot status {project.run} says how "
            f"far it is; signspot destroy {project.run} takes it back.",
            markup=False,
        )
        raise
    except CloudError as error:
        raise CloudError(error.what, why=error.why, mend=error.mend.replace("RUN", project.run)) from error


@contextmanager
def following(console: Console) -> Iterator[Callable[[str], None]]:
    """Shows a deploy's progress: a bar on a terminal, else a line for each resource that is done."""
    columns = TextColumn("cdk deploy"), BarColumn(), TextColumn("{task.completed}/{task.total} {task.fields[now]}")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, now="")

        def hear(line: str) -> None:
            step = cdk.step_of(line)
            if step is None:
                return
            bar.update(task, completed=step.done, total=step.of, now=f"{_name(step.kind)} {step.status.lower()}")
            if step.status.endswith("_FAILED") or (step.over and not console.is_terminal):
                console.print(f"{step.done:3d}/{step.of} {step.status} {step.kind} {step.name}", markup=False)

        yield hear


def _wait(order: Order, project: Project, laptop: Laptop, outputs: dict[str, str], say: Say, known: set[str]) -> Status:
    say("deploy", f"waiting for the first training step, {order.wait_minutes:g} minutes at most; Ctrl-C stops nothing")
    wait = Wait(laptop.client, project.run, outputs, say, known)
    try:
        return wait.until_first_step(Patience(limit_seconds=60 * order.wait_minutes))
    except KeyboardInterrupt:
        how = "its end is not waited for" if wait.gave_up else "the run goes on"
        say("stopped", f"nobody waits any more: {how}. To end it, or to see it ended: signspot stop {project.run}")
        raise


def teller(console: Console, began: float) -> Say:
    """Lines with the time since `began` (of `time.monotonic`)."""

    def say(who: str, what: str) -> None:
        tell(console, time.monotonic() - began, who, what)

    return say
