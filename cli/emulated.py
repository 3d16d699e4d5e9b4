"""The commands that play on an AWS emulated on this machine: `rehearse`, `chaos`, `deaths`; and `simulate`, which only
computes. They cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import typer

from cli.options import AsJson
from contract.prices import ON_DEMAND_USD_PER_HOUR, SPOT_USD_PER_HOUR

if TYPE_CHECKING:
    from cli.rehearsal_screen import Screen

app = typer.Typer()

Data = Annotated[Path | None, typer.Option(help="Folder of keypoints with its table; default: a synthetic sample.")]
Sandbox = Annotated[
    Literal["auto", "namespaces", "processes"],
    typer.Option(help="How instances are made; auto: namespaces where the kernel allows them."),
]


class Verdict(Protocol):
    """What was played came to; a `BaseModel`."""

    @property
    def good(self) -> bool: ...

    def model_dump_json(self, *, indent: int) -> str: ...


def _play(play: Callable[[Screen], Verdict], as_json: bool) -> typer.Exit:
    """Exit code 0: all was good; 1: not; 130: stopped."""
    from rich.console import Console

    from cli.rehearsal_screen import Screen

    screen = Screen(Console(highlight=False, stderr=as_json))
    try:
        verdict = play(screen)
    except KeyboardInterrupt:
        screen.say("stopped", "everything that was started is gone")
        return typer.Exit(130)
    if as_json:
        typer.echo(verdict.model_dump_json(indent=2))
    return typer.Exit(0 if verdict.good else 1)


@app.command()
def rehearse(
    data: Data = None,
    interruptions: Annotated[int, typer.Option(min=0, max=9, help="How often AWS takes the instance away.")] = 1,
    kill: Annotated[bool, typer.Option("--kill", help="Take it away without notice.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up at the end, until Ctrl-C.")] = False,
    notice_seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of the two-minute notice.")] = 20,
    sandbox: Sandbox = "auto",
    to: Annotated[Path, typer.Option(help="Folder for the fetched model.")] = Path("results"),
    boxes: Annotated[int, typer.Option(min=1, max=6, help="From 3 on: a cluster, a head and workers.")] = 1,
    job: Annotated[Literal["sweep", "extract"], typer.Option(help="What a cluster does.")] = "extract",
    setting: Annotated[
        list[str] | None, typer.Option("-c", metavar="NAME=VALUE", help="A setting other than signspot.toml's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go through a whole run on an AWS emulated on this machine, interruptions included. Costs nothing.

    The real CDK CLI, template, user data, agent and trainer. A cluster loses a worker and then its head.

    Example: signspot rehearse --interruptions 2
    """
    from cli.project import split
    from cli.rehearse import Plan, rehearse_run

    settings = dict(split(text) for text in setting or [])
    if boxes > 1:
        from cli.rehearse_cluster import ClusterPlan, rehearse_cluster

        cluster = ClusterPlan(job, boxes - 1, data, sandbox, to, settings)
        raise _play(lambda screen: rehearse_cluster(cluster, screen), as_json)
    plan = Plan(data, interruptions, not kill, keep, notice_seconds, sandbox, to, settings)
    raise _play(lambda screen: rehearse_run(plan, screen), as_json)


@app.command()
def chaos(
    data: Data = None,
    per_fault: Annotated[int, typer.Option(min=1, max=50, help="How often each fault strikes.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of when and where faults strike.")] = 0,
    fault: Annotated[str, typer.Option(help="Play this one fault only.")] = "",
    sandbox: Sandbox = "auto",
    to: Annotated[Path, typer.Option(help="Folder for chaos.json.")] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Let everything go wrong, many times, and compare the weights with those of an undisturbed run.

    About two minutes a fault.

    Example: signspot chaos --per-fault 4 --seed 0
    """
    from cli.chaos import Campaign, run_campaign

    campaign = Campaign(data, per_fault, seed, sandbox, fault, to)
    raise _play(lambda screen: run_campaign(campaign, screen), as_json)


@app.command()
def deaths(
    only: Annotated[str, typer.Option(help="Play only deaths with this in their name, again.")] = "",
    interleavings: Annotated[
        int, typer.Option(min=0, help="Play so many random orders of deploy, interruption, crash, redeploy, destroy.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the interleavings.")] = 0,
    sandbox: Sandbox = "auto",
    to: Annotated[Path, typer.Option(help="Folder for deaths.json or interleavings.json.")] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Let a run end in every way it can, and see that nothing lives on. Goes on where it was stopped.

    Half a minute a death.

    Example: signspot deaths --only "trainer hangs"
    """
    from cli import deaths as table
    from cli import interleavings as orders

    if interleavings:
        order = orders.Campaign(interleavings, seed, sandbox, to)
        raise _play(lambda screen: orders.run_interleavings(order, screen), as_json)
    raise _play(lambda screen: table.run_deaths(table.Campaign(only, sandbox, to), screen), as_json)


@app.command()
def simulate(
    trace: Annotated[
        list[Path] | None, typer.Argument(help="Files, one a zone; without: synthetic, another one for each replay.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.1, max=200, help="Of training, undisturbed.")] = 4,
    interval: Annotated[float, typer.Option(min=1, max=3600, help="Seconds a kill may cost: checkpoint_seconds.")] = 30,
    boot_seconds: Annotated[
        float, typer.Option(min=0, max=7200, help="Launch to first step; on AWS never measured, see check.")
    ] = 600,
    save_seconds: Annotated[float, typer.Option(min=0, max=3600, help="Until a checkpoint is verified in S3.")] = 3,
    notice: Annotated[
        bool, typer.Option("--notice/--no-notice", help="Save in the 120 s, or do as if unheard.")
    ] = True,
    overhead: Annotated[
        float, typer.Option(min=0, max=90, metavar="PERCENT", help="Of training time, that checkpoints take.")
    ] = 4,
    price: Annotated[float, typer.Option(min=0.0001, help="Spot, dollars an hour.")] = SPOT_USD_PER_HOUR,
    on_demand: Annotated[float, typer.Option(min=0.0001, help="Dollars an hour.")] = ON_DEMAND_USD_PER_HOUR,
    zones: Annotated[
        int | None, typer.Option(min=1, max=9, help="Synthetic ones, 1 without; or only so many of the files.")
    ] = None,
    up_hours: Annotated[float, typer.Option(min=0.05, help="Synthetic: mean until an instance is taken away.")] = 1.8,
    down_minutes: Annotated[float, typer.Option(min=0.1, help="Synthetic: mean until there is one again.")] = 10,
    replays: Annotated[int, typer.Option(min=1, max=10_000, help="How many; each with luck of its own.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of that luck.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Replay when spot instances could be had, and say what interruptions would cost a run: hours, work, dollars.

    Computes only; starts nothing. A trace has lines `milliseconds,add|remove,node` or `seconds,count`; what is
    simulated, and what is not: docs/simulation.md.

    Example: signspot simulate --hours 8 --zones 3
    """
    from rich.console import Console

    from cli import simulate as simulation
    from cli.availability import Rates

    plan = simulation.Plan(
        files=tuple(trace or ()),
        zones=zones,
        rates=Rates(up_hours, down_minutes / 60),
        hours=hours,
        interval_seconds=interval,
        boot_seconds=boot_seconds,
        save_seconds=save_seconds,
        notice=notice,
        overhead_percent=overhead,
        price=price,
        on_demand=on_demand,
        replays=replays,
        seed=seed,
    )
    found = simulation.simulate(plan)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        simulation.show(found, Console(highlight=False))
