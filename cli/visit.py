"""The commands that look into a run's instance: logs, ssh, tunnel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import Key, Run
from contract.errors import ConfigError

app = typer.Typer()


@app.command()
def logs(
    run: Run = "signspot",
    boot: Annotated[bool, typer.Option("--boot", help="Boot logs instead of the trainer's.")] = False,
    instance: Annotated[str, typer.Option(help="Of this instance alone.")] = "",
    tail: Annotated[int | None, typer.Option(min=0, metavar="N", help="The last N lines only.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    key: Key = None,
) -> None:
    """Show what the trainer wrote, on every instance the run has had.

    It is read from S3: that needs no SSH, and works after the instances are gone. With -f what the present instance
    writes comes from itself, over SSH, where that is open to you; the log moves over to a replacement, and the exit
    code is that of `status`.

    Example: signspot logs demo --tail 20 -f
    """
    from cli.fetch import stack_outputs
    from cli.follow import dial
    from cli.live import aws
    from cli.logs import Logs
    from cli.reader import read_logs
    from cli.ssh import find_target, your_key

    outputs = stack_outputs(aws("cloudformation"), run)
    stream: Literal["boot", "trainer"] = "boot" if boot else "trainer"
    source = Logs(aws("s3"), outputs["Bucket"], run, stream, instance)
    reach = dial(
        lambda: find_target(aws("s3"), aws("ec2"), outputs["Bucket"], run), lambda: your_key(key, Path.home()), stream
    )
    try:
        raise typer.Exit(read_logs(aws, outputs, run, source, tail=tail, follow=follow, as_json=as_json, reach=reach))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def ssh(
    run: Run = "signspot",
    command: Annotated[list[str] | None, typer.Argument(help="After RUN and `--`: what to run there.")] = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say how to get in, for a client of your own.")] = False,
) -> None:
    """Open a shell on the run's instance, or run a command there.

    Only the host key that the instance published is trusted; no known_hosts of yours is read or written. Where port 22
    is closed, as it is by default, the command that opens it is named. The exit code is that of what ran there.

    Example: signspot ssh demo -- nvidia-smi
    """
    from cli.fetch import run_bucket
    from cli.live import aws
    from cli.shell import open_shell, way_in
    from cli.ssh import find_target, your_key

    target = find_target(aws("s3"), aws("ec2"), run_bucket(aws("cloudformation"), run), run)
    if as_json:
        typer.echo(way_in(target).model_dump_json())
        return
    raise typer.Exit(open_shell(target, your_key(key, Path.home()), command or ()))


@app.command()
def tunnel(
    run: Run = "signspot",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="The default: what the trainer plots.")] = False,
    jupyter: Annotated[bool, typer.Option("--jupyter", help="Notebooks on the instance.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On this laptop; without --tensorboard or --jupyter also over there.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only say where it is.")] = False,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Where it is, one JSON object each time it stands.")] = False,
) -> None:
    """Look at TensorBoard, Jupyter or a port of the instance, through SSH.

    They are started on the instance when asked for, listen on its 127.0.0.1 alone, and end with the tunnel, which
    Ctrl-C ends. When the run moves to another instance, so does the tunnel.

    Example: signspot tunnel demo --tensorboard
    """
    from cli.fetch import stack_outputs
    from cli.live import aws
    from cli.tunnel import look_at

    if tensorboard and jupyter:
        raise ConfigError("one tunnel leads to one of them", mend="give --tensorboard or --jupyter; two may be open")
    tool: Literal["tensorboard", "jupyter"] = "jupyter" if jupyter else "tensorboard"
    outputs = stack_outputs(aws("cloudformation"), run)
    try:
        look_at(
            None if port and not (tensorboard or jupyter) else tool,
            aws, outputs, run, port=port, key=key, browser=not no_browser, as_json=as_json,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
