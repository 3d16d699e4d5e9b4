"""One emulated account with boxes for a whole module, and our stack synthesised for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from cli.assembly import Assembly
from cli.deaths import make_app
from cli.rehearsal_screen import Screen
from cli.stage import RUN, Stage, open_stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_stage(Screen(Console(quiet=True)), "auto") as opened:
        yield opened


@pytest.fixture(scope="module")
def assembly(stage: Stage) -> Assembly:
    made = Assembly(make_app(stage.work / "app"), RUN, stage.aws)
    made.bootstrap()
    return made
