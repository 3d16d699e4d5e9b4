"""What the documents tell people to type exists; the command pages are the help texts; no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import commands_page
from cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GROUP: Any = typer.main.get_command(app)
CODE = re.compile(r"```.*?```|`[^`]+`", re.DOTALL)
CALL = re.compile(r"(?<![\w./-])signspot ([a-z][a-z-]*)([^\n`#;&|)]*)")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def calls(text: str) -> list[tuple[str, list[str]]]:
    """Every command in the page's code, with its long options; what follows ` -- ` is somebody else's."""
    found = [call for code in CODE.findall(text) for call in CALL.findall(code)]
    return [(command, re.findall(r"(?<!\S)--[a-z-]+", rest.partition(" -- ")[0])) for command, rest in found]


def wrong(text: str) -> list[str]:
    known = {name: {o for p in command.params for o in p.opts} | {"--help"} for name, command in GROUP.commands.items()}
    return [
        f"signspot {command} {' '.join(options)}"
        for command, options in calls(text)
        if command not in known or not known[command].issuperset(options)
    ]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_of_commands_are_the_help_texts() -> None:
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.page(), "give: python -m cli.commands_page"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_is_named_exists(page: Path) -> None:
    assert not wrong(page.read_text())


def test_a_command_or_an_option_that_does_not_exist_is_found() -> None:
    assert wrong("`signspot fetch demo`, `signspot ssh demo -- ls --all`") == []
    assert wrong("```\nsignspot fly demo\n```") == ["signspot fly "]
    assert wrong("`signspot stop demo --never`") == ["signspot stop --never"]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text())):
        if not re.match(r"https?://|mailto:", link):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
