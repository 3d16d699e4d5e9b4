"""`signspot deaths`: every way a run can end for good, and that nothing lives on after it.

Enters: which deaths. Leaves: a table and `deaths.json`: good when after each the instances are gone, the group is at 0,
nothing came after, and deleting the stack left nothing. The stack is synthesised once; then each death has a deploy of
its own (`cli/assembly.py`), the real template, user data and agent, a trainer of seconds, and the laptop's own Python
environment in place of an installation.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, RootModel, TypeAdapter, computed_field
from rich.markup import escape
from rich.table import Table

from cli.assembly import Assembly, synthesise
from cli.interleavings_report import Summary
from cli.inventory import left, take_inventory
from cli.logs import Logs, Stream, everything
from cli.rehearsal_screen import Screen
from cli.stage import RUN, open_stage
from cli.status import exit_code, report_on
from contract.errors import ConfigError, SignspotError
from contract.layout import RunLayout
from contract.status import Phase
from rehearsal.aws import EmulatedAws
from rehearsal.case import Case
from rehearsal.datacenter import Box, Datacenter
from rehearsal.deaths import DEATHS, READY, TRAINER, Death
from rehearsal.sandbox import Kind

FILE = "deaths.json"
SETTINGS = {
    "run": RUN,
    "heartbeat_seconds": "1",
    "checkpoint_seconds": "1",
    "max_attempts": "2",
    "grace_seconds": "2",
    "keep_checkpoints": "2",
    "stall_minutes": "0.1",
    "idle_minutes": "60",
}
"""Shortened times; everything else is as in signspot.toml."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
WATCH_SECONDS = 3.0
"""How long nothing may boot once all is over; the emulated group replaces an instance within a second."""
COLUMNS = ("death", "ended by", "last words", "boxes", "s of instance time after", "evidence in S3", "over")


class Result(BaseModel):
    """What followed from one death."""

    death: str
    code: str
    """Fingerprint of what the boxes ran."""
    by: str
    """Who ended each instance that the fault reached."""
    phase: str
    """The run's last one, as `signspot status` shows it."""
    reason: str
    boxes: int
    seconds: float
    """Instance time after the fault, of every box together."""
    logs: tuple[str, ...]
    """Streams whose log is in S3."""
    events: int
    lives_on: str
    """What did, or why it cannot be told; empty: nothing."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def over(self) -> bool:
        """Nothing lives on."""
        return not self.lives_on


RESULTS = TypeAdapter(list[Result])


class Found(BaseModel):
    """What followed from each death that was chosen."""

    deaths: tuple[Result, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def good(self) -> bool:
        """After each, all was over."""
        return all(result.over for result in self.deaths)


class Told(RootModel[Found | Summary]):
    """`signspot deaths --json`: the table; with `--interleavings`, what these found."""


def make_app(work: Path) -> Path:
    """The stack that all deaths share, synthesised into a folder below `work`."""
    return synthesise(work / "cdk.out", SETTINGS | {"data.path": str(sample(work / "data"))})


def sample(folder: Path) -> Path:
    """A dataset as far as the deploy looks; the fake trainer does not."""
    folder.mkdir(parents=True)
    (folder / "dataset.csv").write_text("path,label,split\na.npy,hello,train\n")
    (folder / "a.npy").write_bytes(b"")
    return folder


def change_bundle(death: Death) -> Callable[[Path], None]:
    """The fake trainer, no packages for it, an environment that is ready, and whatever the death changes."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["trainer"]["command"] = ["python", "-c", TRAINER, death.behaviour, str(death.steps)]
        for section, values in death.settings.items():
            config[section] |= values
        (folder / "config.json").write_text(json.dumps(config))
        for lock in ("box", "box-gpu"):
            (folder / f"requirements/{lock}.txt").write_text("")
        (folder / "bootstrap/install.sh").write_text(READY)
        for name, text in death.files.items():
            (folder / name).write_text(text)

    return change


class Play:
    """One run, its death and its burial."""

    def __init__(self, aws: EmulatedAws, datacenter: Datacenter, assembly: Assembly, death: Death) -> None:
        self.aws = aws
        self.datacenter = datacenter
        self.assembly = assembly
        self.death = death
        self.layout = RunLayout(assembly.run)

    def run(self) -> Result:
        before = take_inventory(self.aws.client)
        count = len(self.datacenter.boxes)
        self.aws.clock = lambda: datetime.now(UTC)
        try:
            outputs = self._deploy()
            case = self._case(outputs, count)
            result = self._result(case, outputs, self._end(case))
        finally:
            self.aws.fault = None
            self.assembly.destroy()
        after = left(before, take_inventory(self.aws.client))
        still = [f"{kind} left: {', '.join(sorted(ids))}" for kind, ids in after.items() if ids]
        return result.model_copy(update={"lives_on": "; ".join(filter(None, [result.lives_on, *still]))})

    def _deploy(self) -> dict[str, str]:
        death = self.death
        stop_at = datetime.now(UTC) + timedelta(seconds=death.stop_in)
        parameters = {"StopAt": stop_at.strftime(TIME_FORMAT)} if death.stop_in else {}
        return self.assembly.deploy(parameters, user_data=death.user_data, bundle=change_bundle(death))

    def _case(self, outputs: dict[str, str], count: int) -> Case:
        stop_at = datetime.strptime(outputs["StopAt"], TIME_FORMAT).replace(tzinfo=UTC)
        names = outputs["Bucket"], outputs["Group"]
        return Case(self.aws, self.datacenter, self.layout, *names, stop_at, count)

    def _end(self, case: Case) -> str:
        """Strike, and wait until all is over; returns what is not."""
        try:
            self.death.strike(case)
            case.wait("the end", lambda: case.over, self.death.limit_seconds)
        except SignspotError as error:
            boxes = ", ".join(box.instance_id for box in case.alive)
            return f"{error.what} ({error.why}); group at {case.desired()}, alive: {boxes or 'none'}"
        boxes_then = len(case.boxes)
        time.sleep(WATCH_SECONDS)
        return "it was replaced after its end" if len(case.boxes) > boxes_then or case.desired() else ""

    def _result(self, case: Case, outputs: dict[str, str], trouble: str) -> Result:
        """With what `signspot status` and `signspot logs` say after the instances are gone."""
        client, run, now = self.aws.client, self.assembly.run, datetime.now(UTC)
        report = report_on(client, outputs, run, self.aws.clock())
        phase = report.status.phase
        if not trouble and self.death.phases != ("",) and phase not in self.death.phases:
            trouble = f"the run is {phase}, not {' or '.join(self.death.phases)}"
        if not trouble and (exit_code(report, self.aws.clock()) == 0) != (phase is Phase.DONE):
            trouble = f"signspot status says that all is well with a run that is {phase}"
        fault = case.fault_at or now
        spans = [(max(box.started, fault), box.ended or now) for box in case.boxes]
        events = self.aws.client("s3").list_objects_v2(Bucket=case.bucket, Prefix=self.layout.events)
        streams: tuple[Stream, ...] = ("boot", "trainer")
        return Result(
            death=self.death.name,
            code=self.assembly.fingerprint,
            by=self._ended_by(case),
            phase=str(phase),
            reason=" ".join((report.ending.message if report.ending else report.status.reason).split()),
            boxes=len(case.boxes),
            seconds=round(sum(max(0.0, (end - begin).total_seconds()) for begin, end in spans), 1),
            logs=tuple(name for name in streams if any(everything(Logs(client("s3"), case.bucket, run, name)))),
            events=len(events.get("Contents", [])),
            lives_on=trouble,
        )

    def _ended_by(self, case: Case) -> str:
        """Of every box that the fault reached, in order."""
        reached = [box for box in case.boxes if box.ended and case.fault_at and box.ended >= case.fault_at]
        return " → ".join(self._ending(case, box) for box in reached)

    def _ending(self, case: Case, box: Box) -> str:
        """By AWS's clock, and by what the box's console says last."""
        codes = re.findall(r"^signspot: ending with code (\d+)", box.sandbox.console.read_text(errors="replace"), re.M)
        if box.cause == "terminated" and self.aws.clock() >= case.stop_at and box is case.boxes[-1]:
            return "scheduled action"
        return f"its own trap (code {codes[-1]}), {box.cause}" if codes else box.cause


@dataclass(frozen=True)
class Campaign:
    only: str
    """Part of the names of the deaths to play; empty: all."""
    sandbox: Kind
    to: Path


def run_deaths(campaign: Campaign, screen: Screen) -> Found:
    """Plays the deaths that were not played with this code yet; shows the table; writes `deaths.json` after each.

    Raises:
        ConfigError: no death is called so.
    """
    chosen = [death for death in DEATHS if campaign.only.lower() in death.name.lower()]
    if not chosen:
        names = ", ".join(repr(death.name) for death in DEATHS)
        raise ConfigError(f"there is no death {campaign.only!r}", mend=f"one of: {names}")
    results = read_results(campaign.to)
    with open_stage(screen.quiet(), campaign.sandbox) as stage:
        assembly = Assembly(make_app(stage.work / "app"), RUN, stage.aws)
        assembly.bootstrap()
        for death in chosen:
            known = results.get(death.name)
            if known is None or campaign.only or known.code != assembly.fingerprint or not known.over:
                found = Play(stage.aws, stage.datacenter, assembly, death).run()
                results[death.name] = found
                verdict = "over" if found.over else f"LIVES ON: {found.lives_on}"
                screen.say("death", f"{death.name}: {found.by}; {found.seconds:.0f} s; {verdict}")
                write_results(campaign.to, results)
    shown = Found(deaths=tuple(results[death.name] for death in chosen))
    screen.console.print(table(shown.deaths))
    return shown


def read_results(folder: Path) -> dict[str, Result]:
    """By the name of the death, of earlier calls; none where there were none."""
    try:
        found = RESULTS.validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return {}
    return {result.death: result for result in found}


def write_results(folder: Path, results: dict[str, Result]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ordered = [results[death.name] for death in DEATHS if death.name in results]
    (folder / FILE).write_bytes(RESULTS.dump_json(ordered, indent=2) + b"\n")


def row(result: Result) -> tuple[str, ...]:
    """One line of the table, as text."""
    reason = result.reason.partition("Why: error: ")[0].strip()  # an error's own text names this machine's paths
    words = f"{result.phase}: {reason}" if reason else result.phase
    return (
        result.death,
        result.by,
        words if len(words) <= 120 else f"{words[:117]}…",
        str(result.boxes),
        f"{result.seconds:.1f}",
        f"logs: {', '.join(result.logs) or 'none'}; {result.events} events",
        "yes" if result.over else f"NO: {result.lives_on}",
    )


def table(results: Iterable[Result]) -> Table:
    """What fits into 80 columns of it; `deaths.json` has the rest."""
    shown = Table(title="Deaths", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("death", "ended by", "run", "boxes", "s", "over"):
        shown.add_column(name, overflow="fold")
    for result in results:
        name, by, _, boxes, seconds, _, over = map(escape, row(result))
        shown.add_row(name, by, result.phase, boxes, seconds, over, style="" if result.over else "bold red")
    return shown
