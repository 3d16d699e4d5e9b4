"""The commands about what lives and what it costs: `ls`, `stop`, `restart`, `cost`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson, Run, Yes, check_run
from contract.errors import ConfigError

app = typer.Typer()


def check_named(name: str | None) -> str | None:
    """None where none is named; an empty name is none that a run can have."""
    return None if name is None else check_run(name)


INTERRUPTED = 130
"""By Ctrl-C, as shells have it."""


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List every run in the account and region: phase, step, newest checkpoint, what lives, dollars, deadline.

    Found by its tag, from any laptop.

    Example: signspot ls
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from cli.live import aws
    from cli.ls import list_runs, show

    now = datetime.now(UTC)
    found = list_runs(aws, now)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show(found, now, Console(highlight=False))


@app.command()
def stop(
    run: Annotated[str | None, typer.Argument(help="Name of the run.", callback=check_named)] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The emergency brake: every run of the account and region to 0, proven.")
    ] = False,
    now: Annotated[bool, typer.Option("--now", help="Do not let the box save first; AWS may leave it time.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let the run's box save, end it, and start no other; stack, bucket and checkpoints stay.

    It is ended also when it does not answer (150 s; with --all 30 s for all together), when S3 is away, and on Ctrl-C.
    `signspot restart` goes on from what was saved. Asking again does no harm.

    Exit 0: nothing lives, everything trained is in S3. Exit 4: nothing lives, and something may not be in S3. Exit 5:
    something lives on, and is named; or AWS refused.

    Example: signspot stop demo
    """
    from cli.halt import stop_all, stop_one
    from cli.live import aws, brisk
    from cli.stop import Patience

    if everything and run:
        raise ConfigError("--all stops every run, and one is named, too", mend=f"signspot stop {run}, or stop --all")

    def say(_: str, what: str) -> None:
        typer.echo(what, err=as_json)

    try:
        if everything:
            report = stop_all(aws, brisk, say, Patience(), now=now)
        else:
            report = stop_one(aws, brisk, run or "signspot", say, Patience(), now=now)
    except KeyboardInterrupt:
        again = "--all" if everything else run or "signspot"
        typer.echo(f"not waited for any longer; `signspot stop {again}` says whether something lives", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    raise typer.Exit(report.exit_code)


@app.command()
def restart(run: Run = "signspot", yes: Yes = False, as_json: AsJson = False) -> None:
    """Let a run that was stopped go on from its newest checkpoint, within the time and the ceiling it has.

    Refused with the next step: a run that is over, one whose old box still lives, one without time left, one that
    nothing outside its box would end. Asking again does no harm.

    Example: signspot restart demo
    """
    from cli.live import aws
    from cli.restart import plan_restart
    from cli.restart import restart as start

    plan = plan_restart(aws, run)
    found = plan.outcome
    until = f"until {found.stop_at:%Y-%m-%d %H:%M} UTC"
    cost = f"may still cost at most ${found.usd_left}; all of it at most ${found.usd_at_most}"
    typer.echo(f"run {run} goes on from step {found.step}, {until}; it {cost}", err=as_json)
    if found.already:
        typer.echo("It runs already: nothing was changed.", err=as_json)
    else:
        if not yes:
            typer.confirm("Start it?", abort=True, err=as_json)
        start(aws, plan)
        typer.echo(f"The group is at 1. Follow it: signspot status {run}; signspot logs {run} -f", err=as_json)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))


@app.command()
def cost(
    run: Run = "signspot",
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="What fetch wrote, where nothing is left in AWS.")
    ] = None,
    billed: Annotated[
        bool, typer.Option("--billed", help="Ask Cost Explorer, too: that question costs $0.01.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the run's receipt: every instance with its seconds and its price then, what stands beside, what was saved.

    Works while it runs, after it, and after `destroy` with a kept bucket or with --from.

    Example: signspot cost demo
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from cli.cost import receipt_of, show
    from cli.live import aws

    receipt = receipt_of(aws, run, datetime.now(UTC), folder=folder, billed=billed)
    if as_json:
        typer.echo(receipt.model_dump_json(indent=2))
    else:
        show(receipt, Console(highlight=False))
