"""The README's tree has one line for every file, and names none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("contract", "infra", "bootstrap", "trainer", "cli", "rehearsal", "benchmarks")


def block(room: str) -> set[str]:
    """The names in the room's part of the tree."""
    tree = (ROOT / "README.md").read_text().rpartition("## The tree")[2]
    lines = tree.partition(f"\n{room}/ ")[2].splitlines()[1:]
    names: set[str] = set()
    for line in lines:
        if not line.startswith("  "):
            break
        names.update(
            re.findall(r"[a-z0-9_]+\.(?:py|sh)", line.partition("    ")[0] if line.count(".py") > 1 else line[:26])
        )
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_of_a_room_has_its_line(room: str) -> None:
    files = {path.name for path in (ROOT / room).iterdir() if path.suffix in (".py", ".sh")}
    assert block(room) == files - {"__init__.py", "__main__.py"}


def test_every_document_the_readme_links_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert not [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
