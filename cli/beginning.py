"""The commands with which a run begins: `init`, `check`, `deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson, Settings, Yes

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the dataset is; the file is written there.")] = Path(),
    setting: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a signspot.toml that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a folder and write a commented signspot.toml that fits it; say the next command.

    Finds a table, keypoints or clips, your SSH key, your region, a name for the run. Asks nothing.

    Example: signspot init my-signs
    """
    from cli.init import init as look_and_write
    from cli.project import split

    found = look_and_write(folder, Path.home(), dict(split(text) for text in setting or []), force=force)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    what = {"table": "a table", "keypoints": "keypoints without a table", "clips": "clips", "none": "no dataset"}
    typer.echo(f"{found.file}: run {found.run}")
    typer.echo(f"dataset  {what[found.dataset]}{f', {found.path}' if found.path else ''}")
    typer.echo(f"SSH key  {found.public_key or 'none yet; signspot key makes one'} (SSH stays off: ssh_from is none)")
    typer.echo(f"region   {found.region or 'none'}, named by {found.region_from}")
    typer.echo("next     " + "\n         ".join(found.next))


@app.command()
def check(
    setting: Settings = None,
    request_quota: Annotated[
        bool, typer.Option("--request-quota", help="File the increase of the spot quota that is missing, once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything that a run needs, before it costs anything; each ✗ says what mends it.

    Account, quotas, zones, prices, image, tools, address, key, dataset; then a forecast. Creates nothing. Exit 1: a
    check failed.

    Example: signspot check -c max_usd=1.50
    """
    from rich.console import Console

    from cli.check import Laptop, show
    from cli.check import check as look
    from cli.preflight.quota import request_quota as ask_for_more
    from cli.project import open_project

    project, laptop = open_project(setting or []), Laptop.own()
    console = Console(highlight=False, stderr=as_json)
    with console.status("checking …"):
        report, facts = look(project, laptop)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        show(report, console)
    if request_quota:
        for line in ask_for_more(laptop.client, facts, project.config):
            console.print(line, markup=False)
    raise typer.Exit(0 if report.good else 1)


@app.command()
def deploy(
    setting: Settings = None,
    yes: Yes = False,
    wait_minutes: Annotated[
        float, typer.Option(min=0, help="For the first training step; then the run is stopped. 0: do not wait.")
    ] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Check, show the plan, ask, deploy, and wait for the first training step.

    Says what the group does, and explains why it gets no instance. No step in time: the run is stopped. Ctrl-C
    stops the waiting, not the run. Exit 1: not ready, nothing was created; 5: AWS refused, or gave up; 6: it failed.

    Example: signspot deploy -c run=demo -c max_usd=1.50
    """
    from rich.console import Console

    from cli.check import Laptop
    from cli.deploy import Order, deploy_run

    order = Order(setting or [], yes, wait_minutes)

    def confirm(question: str) -> None:
        typer.confirm(question, abort=True, err=as_json)

    try:
        outcome = deploy_run(order, Laptop.own(), Console(highlight=False, stderr=as_json), confirm)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(outcome.model_dump_json(indent=2))
