"""`python -m cli.commands_page`: writes docs/commands.md from the commands' help texts.

Enters: the commands, as typer knows them. Leaves: the page, the same at any width of a terminal; a test compares it
with the committed one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from cli.main import app

PAGE = Path(__file__).parents[1] / "docs/commands.md"
INTRO = """# Commands

Generated from the help texts by `python -m cli.commands_page`; a test keeps it true. `signspot COMMAND --help` says
the same. Every command refuses with a message of three parts (what, why, what mends it) and these exit codes, unless
it names others: 2 a setting or an argument is wrong, 3 a dataset or a file is unusable, 4 S3 refused, 5 AWS refused,
6 the training failed, 130 Ctrl-C. `signspot --debug COMMAND` shows the whole trace. What `--json` prints is described
in [schemas](schemas).
"""


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    names = sorted(group.commands)
    index = [f"[{name}](#{name})" for name in names]
    return (
        "\n\n".join([INTRO + "\n" + ",\n".join(index), *(section(name, group.commands[name]) for name in names)]) + "\n"
    )


def section(name: str, command: Any) -> str:
    """One command: what it does, how it is called, its example, its parameters."""
    context = typer.Context(command, info_name=f"signspot {name}")
    text, _, example = command.help.partition("Example: ")
    usage = " ".join([f"signspot {name}", *command.collect_usage_pieces(context)])
    example = example.replace(", or in its place: ", "`, or in its place: `")
    parts = [f"## {name}", readable(text.strip()), f"```\n{usage}\n```", f"Example: `{example}`"]
    rows = list(table(command, context))
    return "\n\n".join([*parts, "\n".join(rows)] if rows else parts)


def table(command: Any, context: typer.Context) -> Iterator[str]:
    """A line for each argument and option that has a help text."""
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    rows = [(f"`{names}`", readable(text)) for names, text in records]
    for row in [("argument or option", "what it is"), ("---", "---"), *rows] if rows else []:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def readable(text: str) -> str:
    """Text as Markdown: outside of code, `<` begins no tag."""
    parts = text.split("`")
    return "`".join(part if number % 2 else part.replace("<", "\\<") for number, part in enumerate(parts))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
