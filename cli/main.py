"""`signspot`: the entry point. Each command's work is in the module it imports when it is called, so that
`--help` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from cli import beginning, emulated, life, offline, visit
from cli.options import AsJson, Results, Run, Yes, check_run
from contract.errors import SignspotError

if TYPE_CHECKING:
    from rich.console import Console

START_OBJECTS = 200_000
"""Imports and clients make 160,000 that stay: nobody searches for garbage before there are more."""

app = typer.Typer(
    name="signspot",
    no_args_is_help=True,
    context_settings={"max_content_width": 120},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take longer to import than all the rest of `--help`
    help="Train a model on a cheap spot GPU in your own AWS account. Lose no work, leak no dollar, leave nothing.",
)


Trace = Annotated[bool, typer.Option("--debug", help="Show the whole trace when something goes wrong.")]


@app.callback()
def options(debug: Trace = False) -> None:
    if debug:
        os.environ["SIGNSPOT_DEBUG"] = "1"
    if region := os.environ.get("AWS_REGION"):  # boto3 reads the other name alone; the CDK CLI deploys to this one
        os.environ["AWS_DEFAULT_REGION"] = region


@app.command()
def fetch(
    run: Run = "signspot",
    to: Results = Path("results"),
    only: Annotated[Literal["all", "model"], typer.Option(help="model: nothing but the trained model.")] = "all",
    as_json: AsJson = False,
) -> None:
    """Bring a run's results home: model, best and newest checkpoint, logs, metrics, status, events.

    Every file of the model and of a checkpoint is verified by its SHA-256. Asking again fetches only what is missing
    or still grows.

    Example: signspot fetch demo --to results
    """
    from cli.download import FetchedSet
    from cli.fetch import Home, fetch_model, fetch_run, run_bucket
    from cli.live import aws

    s3, bucket = aws("s3"), run_bucket(aws("cloudformation"), run)
    if only == "model":
        target = to / run / "model"
        manifest = fetch_model(s3, bucket, run, target)
        text = f"{target}: {len(manifest.files)} files, trained to step {manifest.step}, every hash verified"
        typer.echo(text, err=as_json)
        home = Home(run=run, folder=str(to / run), model=FetchedSet.of(target, manifest))
    else:
        screen = terminal(sys.stderr if as_json else sys.stdout)
        home = fetch_run(s3, bucket, run, to / run, screen, lambda _, what: typer.echo(what, err=as_json)).told(run)
        for note in home.notes:
            typer.echo(note, err=as_json)
    if as_json:
        typer.echo(home.model_dump_json(indent=2))


@app.command()
def report(
    of: Annotated[str, typer.Argument(metavar="RUN|FOLDER", help="A run, or what fetch or train wrote.")] = "signspot",
    out: Annotated[Path | None, typer.Option(help="Default: report.html in FOLDER, or in results/RUN.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's report: one HTML file, curves, words, confusion, attempts, receipt, settings, how to repeat it.

    Needs no network to be read. From a folder AWS is asked for prices alone, and need not answer.

    Example: signspot report results/demo --open
    """
    import webbrowser
    from datetime import UTC, datetime

    from cli import report as page
    from cli.live import aws, brisk
    from contract.report import FILE

    now = datetime.now(UTC)
    if page.is_folder(of):
        folder = page.home_of(Path(of))
        found = page.find_in(folder, brisk, now)
    else:
        run = check_run(of)
        folder, found = Path("results") / run, page.find_run(run, aws, now)
    place = out or folder / FILE
    written = page.write(found, place, now)
    typer.echo(written.model_dump_json(indent=2) if as_json else written.report)
    if show:
        webbrowser.open(place.resolve().as_uri())


@app.command()
def destroy(
    run: Run,
    to: Results = Path("results"),
    discard: Annotated[bool, typer.Option("--discard", help="Give the results up: fetch nothing.")] = False,
    yes: Annotated[str, typer.Option(metavar="RUN", help="The run's name, in place of typing it.")] = "",
    with_bucket: Annotated[
        bool, typer.Option("--with-bucket", help="Remove the bucket that run.keep_results kept, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a run and leave nothing: stop, fetch and verify, delete, then ask AWS what is left.

    Needs nothing but credentials. Given again, it goes on where it stopped.

    Exit 0: nothing is left. Exit 4: the results could not be fetched, nothing was deleted. Exit 5: something is left,
    and is named with the command that removes it; or AWS refused.

    Example: signspot destroy demo
    """
    from rich.console import Console

    from cli.destroy import Plan, confirm, destroy_run
    from cli.live import aws, brisk

    plan = Plan(run, to, discard, with_bucket)
    confirm(plan, yes, lambda question: typer.prompt(question, err=as_json))
    try:
        destroyed = destroy_run(aws, brisk, plan, Console(highlight=False, stderr=as_json))
    except KeyboardInterrupt:
        lost = "" if discard else "no result is lost, and "
        typer.echo(f"stopped; {lost}the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(destroyed.model_dump_json(indent=2))
    raise typer.Exit(destroyed.exit_code)


@app.command()
def status(
    run: Run = "signspot",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again and again, until the run is over.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The status as the box wrote it, with what this laptop found out.")
    ] = False,
) -> None:
    """Say how a run is doing. Exit 4: its checkpoints do not reach S3; exit 6: it failed, or ended without a word.

    Needs no SSH, and works after the instance is gone. With --watch and no terminal: a line for each change.

    Example: signspot status demo --watch
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from cli import details, status_screen
    from cli.fetch import stack_outputs
    from cli.live import aws
    from cli.status import exit_code, report_on
    from cli.watch import watch as follow

    now, outputs = datetime.now(UTC), stack_outputs(aws("cloudformation"), run)
    console = Console(highlight=False)
    if watch:
        try:
            raise typer.Exit(follow(aws, outputs, run, console, as_json=as_json, write=typer.echo))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    found = report_on(aws, outputs, run, now)
    closer = details.look_closer(aws, outputs, found, now)
    if as_json:
        typer.echo(details.told(found, closer).model_dump_json(indent=2))
    else:
        status_screen.show(found, now, console, closer)
    raise typer.Exit(exit_code(found, now))


@app.command()
def address(as_json: AsJson = False) -> None:
    """Print the one address this laptop is seen from, as access.ssh_from takes it; two services must agree on it.

    Example: signspot address, or in its place: cdk deploy -c ssh_from=$(signspot address)
    """
    from cli.address import Found, find_address

    found = find_address()
    typer.echo(Found(ssh_from=found).model_dump_json(indent=2) if as_json else found)


@app.command()
def key(
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Ask for one, to lock a key that is made.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the path of your public SSH key: ~/.ssh/id_ed25519.pub, else signspot's own, made when absent.

    The private half is never overwritten and never leaves this laptop.

    Example: signspot key, or in its place: cdk deploy -c public_key=$(signspot key)
    """
    from cli.keys import Found, find_key

    secret = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True) if passphrase else ""
    path = find_key(Path.home(), secret)
    typer.echo(Found.of(path).model_dump_json(indent=2) if as_json else path)


@app.command()
def extend(
    run: Run = "signspot",
    hours: Annotated[float, typer.Option(help="Hours more; 0: only tell the box again what the stack has.")] = 1.0,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give a run more time, and with it a higher ceiling. A group that is at 0 is not started by it.

    Counts from the end the run has, or from now where that has passed.

    Example: signspot extend demo --hours 2
    """
    from cli.extend import Extended, is_at_zero, look_up, move, tell_box
    from cli.live import aws

    def say(what: str) -> None:
        typer.echo(what, err=as_json)

    cloudformation = aws("cloudformation")
    found = look_up(cloudformation, run)
    resting = is_at_zero(aws("autoscaling"), found.groups)
    say(f"now    {found.ceiling}")
    ceiling = found.ceiling
    if hours:
        ceiling = ceiling.extended(hours, found.now)
        say(f"then   {ceiling}  ({hours:g} h at ${ceiling.rate:f} an hour)")
        if resting:
            say("The group is at 0: no box runs, and this starts none.")
        if not yes:
            typer.confirm("Extend?", abort=True, err=as_json)
        move(cloudformation, found, ceiling)
    tell_box(aws("s3"), found, ceiling.stop_at)
    say(f"run {run}: {ceiling}")
    if as_json:
        extended = Extended(
            run=run,
            stop_at=ceiling.stop_at,
            usd_at_most=ceiling.usd,
            stop_at_before=found.ceiling.stop_at,
            usd_at_most_before=found.ceiling.usd,
            runs=not resting,
        )
        typer.echo(extended.model_dump_json(indent=2))


app.add_typer(visit.app)
app.add_typer(life.app)
app.add_typer(beginning.app)
app.add_typer(offline.app)
app.add_typer(emulated.app)


def terminal(stream: TextIO) -> Console | None:
    """To show progress on; None where nobody looks, for rich takes a while to import."""
    if not stream.isatty():
        return None
    from rich.console import Console

    return Console(file=stream)


def main() -> None:
    """Runs a command; an error for people is printed as such and becomes the exit code."""
    gc.set_threshold(START_OBJECTS)
    try:
        app()
    except SignspotError as error:
        if os.environ.get("SIGNSPOT_DEBUG"):
            raise
        typer.secho(str(error), err=True, fg="red")
        sys.exit(error.exit_code)
    finally:
        gc.freeze()  # or Python looks through all of it for garbage twice as it ends, for a fifth of a command's time
