"""`signspot`: the entry point. Each command's work is in the module it imports when it is called, so that
`--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from contract.errors import ConfigError, SignspotError

app = typer.Typer(
    name="signspot",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train a model on a cheap spot GPU in your own AWS account. Lose no work, leak no dollar, leave nothing.",
)

Trace = Annotated[bool, typer.Option("--debug", help="Show the whole trace when something goes wrong.")]


@app.callback()
def options(debug: Trace = False) -> None:
    if debug:
        os.environ["SIGNSPOT_DEBUG"] = "1"


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to put it; made when absent.")] = Path("data/sample"),
) -> None:
    """Make a small synthetic dataset: a kinematic hand signing a few words.

    Example: signspot sample data/sample
    """
    from cli.workload import run_trainer

    raise typer.Exit(run_trainer("trainer.sample", str(folder)))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder with the trained model, as `fetch` brought it.")],
    keypoints: Annotated[Path, typer.Argument(help="Keypoints of one clip, .npy of shape (frames, 2, 21, 3).")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Say which word a clip's keypoints show: the word, its confidence, the top three.

    Example: signspot predict results/demo/model data/sample/keypoints/clip.npy
    """
    from cli.workload import run_trainer

    raise typer.Exit(run_trainer("trainer.predict", str(model), str(keypoints), *(["--json"] if as_json else [])))


@app.command()
def fetch(
    run: Annotated[str, typer.Argument(help="Name of the run.")] = "signspot",
    to: Annotated[Path, typer.Option(help="Folder for the results; the run's name is added.")] = Path("results"),
) -> None:
    """Bring the trained model home; every file is verified by its SHA-256.

    Asking again fetches only what is missing. Example: signspot fetch demo --to results
    """
    import boto3

    from cli.fetch import fetch_model, run_bucket

    target = to / run / "model"
    manifest = fetch_model(boto3.client("s3"), run_bucket(boto3.client("cloudformation"), run), run, target)
    typer.echo(f"{target}: {len(manifest.files)} files, trained to step {manifest.step}, every hash verified")


@app.command()
def status(
    run: Annotated[str, typer.Argument(help="Name of the run.")] = "signspot",
    as_json: Annotated[bool, typer.Option("--json", help="The status as the box wrote it.")] = False,
) -> None:
    """Say how a run is doing. Exit 4: its checkpoints do not reach S3; exit 6: it failed.

    Example: signspot status demo
    """
    from datetime import UTC, datetime

    import boto3
    from rich.console import Console

    from cli.fetch import run_bucket
    from cli.status import exit_code, read_status, show

    found = read_status(boto3.client("s3"), run_bucket(boto3.client("cloudformation"), run), run)
    now = datetime.now(UTC)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show(found, now, Console(highlight=False))
    raise typer.Exit(exit_code(found, now))


@app.command()
def rehearse(
    data: Annotated[
        Path | None, typer.Option(help="Folder of keypoints with its table; default: a synthetic sample.")
    ] = None,
    interruptions: Annotated[int, typer.Option(min=0, max=9, help="How often AWS takes the instance away.")] = 1,
    kill: Annotated[bool, typer.Option("--kill", help="Take it away without notice.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up at the end, until Ctrl-C.")] = False,
    notice_seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of the two-minute notice.")] = 20,
    sandbox: Annotated[
        Literal["auto", "namespaces", "processes"],
        typer.Option(help="How instances are made; auto: namespaces where the kernel allows them."),
    ] = "auto",
    to: Annotated[Path, typer.Option(help="Folder for the fetched model.")] = Path("results"),
    setting: Annotated[
        list[str] | None, typer.Option("-c", metavar="NAME=VALUE", help="A setting other than signspot.toml's.")
    ] = None,
) -> None:
    """Go through a whole run on an AWS emulated on this machine, interruptions included. Costs nothing.

    The real CDK CLI, template, user data, agent and trainer. Example: signspot rehearse --interruptions 2
    """
    from cli.rehearse import Plan, rehearse_run

    settings = dict(_split(text) for text in setting or [])
    plan = Plan(data, interruptions, not kill, keep, notice_seconds, sandbox, to, settings)
    raise typer.Exit(rehearse_run(plan))


@app.command()
def chaos(
    data: Annotated[
        Path | None, typer.Option(help="Folder of keypoints with its table; default: a synthetic sample.")
    ] = None,
    per_fault: Annotated[int, typer.Option(min=1, max=50, help="How often each fault strikes.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of when and where faults strike.")] = 0,
    fault: Annotated[str, typer.Option(help="Play this one fault only.")] = "",
    sandbox: Annotated[
        Literal["auto", "namespaces", "processes"], typer.Option(help="How instances are made.")
    ] = "auto",
    to: Annotated[Path, typer.Option(help="Folder for chaos.json.")] = Path("results"),
) -> None:
    """Let everything go wrong, many times, and compare the weights with those of an undisturbed run.

    About two minutes a fault. Example: signspot chaos --per-fault 4 --seed 0
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
    sandbox: Annotated[
        Literal["auto", "namespaces", "processes"], typer.Option(help="How instances are made.")
    ] = "auto",
    to: Annotated[Path, typer.Option(help="Folder for deaths.json or interleavings.json.")] = Path("results"),
) -> None:
    """Let a run end in every way it can, and see that nothing lives on. Goes on where it was stopped.

    Half a minute a death. Example: signspot deaths --only "trainer hangs"
    """
    from cli import deaths as table
    from cli import interleavings as orders

    if interleavings:
        raise typer.Exit(orders.run_interleavings(orders.Campaign(interleavings, seed, sandbox, to)))
    raise typer.Exit(table.run_deaths(table.Campaign(only, sandbox, to)))


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"-c {text}: a setting is given as NAME=VALUE", mend="for instance -c max_usd=1.50")
    return name, value


def main() -> None:
    """Runs a command; an error for people is printed as such and becomes the exit code."""
    try:
        app()
    except SignspotError as error:
        if os.environ.get("SIGNSPOT_DEBUG"):
            raise
        typer.secho(str(error), err=True, fg="red")
        sys.exit(error.exit_code)
