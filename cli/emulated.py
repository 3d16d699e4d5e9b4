"""The commands that play on an AWS emulated on this machine: `rehearse`, `chaos`, `deaths`. They cost nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()

Data = Annotated[Path | None, typer.Option(help="Folder of keypoints with its table; default: a synthetic sample.")]
Sandbox = Annotated[
    Literal["auto", "namespaces", "processes"],
    typer.Option(help="How instances are made; auto: namespaces where the kernel allows them."),
]


@app.command()
def rehearse(
    data: Data = None,
    interruptions: Annotated[int, typer.Option(min=0, max=9, help="How often AWS takes the instance away.")] = 1,
    kill: Annotated[bool, typer.Option("--kill", help="Take it away without notice.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up at the end, until Ctrl-C.")] = False,
    notice_seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of the two-minute notice.")] = 20,
    sandbox: Sandbox = "auto",
    to: Annotated[Path, typer.Option(help="Folder for the fetched model.")] = Path("results"),
    setting: Annotated[
        list[str] | None, typer.Option("-c", metavar="NAME=VALUE", help="A setting other than signspot.toml's.")
    ] = None,
) -> None:
    """Go through a whole run on an AWS emulated on this machine, interruptions included. Costs nothing.

    The real CDK CLI, template, user data, agent and trainer.

    Example: signspot rehearse --interruptions 2
    """
    from cli.project import split
    from cli.rehearse import Plan, rehearse_run

    settings = dict(split(text) for text in setting or [])
    plan = Plan(data, interruptions, not kill, keep, notice_seconds, sandbox, to, settings)
    raise typer.Exit(rehearse_run(plan))


@app.command()
def chaos(
    data: Data = None,
    per_fault: Annotated[int, typer.Option(min=1, max=50, help="How often each fault strikes.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of when and where faults strike.")] = 0,
    fault: Annotated[str, typer.Option(help="Play this one fault only.")] = "",
    sandbox: Sandbox = "auto",
    to: Annotated[Path, typer.Option(help="Folder for chaos.json.")] = Path("results"),
) -> None:
    """Let everything go wrong, many times, and compare the weights with those of an undisturbed run.

    About two minutes a fault.

    Example: signspot chaos --per-fault 4 --seed 0
    """
    from cli.chaos import Campaign, run_campaign

    raise typer.Exit(run_campaign(Campaign(data, per_fault, seed, sandbox, fault, to)))


@app.command()
def deaths(
    only: Annotated[str, typer.Option(help="Play only deaths with this in their name, again.")] = "",
    interleavings: Annotated[
        int, typer.Option(min=0, help="Play so many random orders of deploy, interruption, crash, redeploy, destroy.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the interleavings.")] = 0,
    sandbox: Sandbox = "auto",
    to: Annotated[Path, typer.Option(help="Folder for deaths.json or interleavings.json.")] = Path("results"),
) -> None:
    """Let a run end in every way it can, and see that nothing lives on. Goes on where it was stopped.

    Half a minute a death.

    Example: signspot deaths --only "trainer hangs"
    """
    from cli import deaths as table
    from cli import interleavings as orders

    if interleavings:
        raise typer.Exit(orders.run_interleavings(orders.Campaign(interleavings, seed, sandbox, to)))
    raise typer.Exit(table.run_deaths(table.Campaign(only, sandbox, to)))
