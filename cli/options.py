"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contract.errors import ConfigError


def check_run(name: str) -> str:
    """A name that no run can have is refused before AWS is asked: its filters take `*` and `?` for wildcards."""
    from pydantic import ValidationError

    from contract.config import RunConfig

    try:
        return RunConfig(name=name).name
    except ValidationError:
        raise ConfigError(
            f"{name!r} is no name of a run", mend="a-z, 0-9 and -, beginning with a letter, at most 30"
        ) from None


Run = Annotated[str, typer.Argument(help="Name of the run.", callback=check_run)]
Key = Annotated[Path | None, typer.Option("--key", help="Your private SSH key; as a rule it is found.")]
Results = Annotated[Path, typer.Option(help="Folder for the results; the run's name is added.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; what happens, on error.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("-c", metavar="NAME=VALUE", help="A setting other than signspot.toml's; config=FILE."),
]
