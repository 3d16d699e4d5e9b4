"""Deploys, interruptions, crashes, redeploys and a destroy in any order: nothing lives on, nothing is left.

A handful, seeded; `signspot deaths --interleavings 100` plays many.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from cli.assembly import Assembly
from cli.interleavings import Interleaving, make_apps
from cli.rehearsal_screen import Screen
from cli.stage import Stage, open_stage

SEED = 1


@pytest.fixture(scope="module")
def account() -> Iterator[tuple[Stage, tuple[Assembly, Assembly]]]:
    with open_stage(Screen(Console(quiet=True)), "auto") as stage:
        assemblies = make_apps(stage)
        assemblies[0].bootstrap()
        yield stage, assemblies


@pytest.mark.parametrize("number", range(6))
def test_any_order_ends_in_nothing(account: tuple[Stage, tuple[Assembly, Assembly]], number: int) -> None:
    stage, assemblies = account
    story = Interleaving(stage, assemblies, SEED, number).play()
    assert not story.wrong, "; ".join(story.told)
    assert story.boxes


def test_what_goes_wrong_is_told(account: tuple[Stage, tuple[Assembly, Assembly]]) -> None:
    """A stack that is made to begin anew, at another price, is caught."""
    stage, (first, second) = account

    class Careless(Interleaving):
        def _act(self) -> None:
            self.case.booted()
            self.scale_in()
            self._look()
            group = stage.aws.client("autoscaling")
            group.set_desired_capacity(AutoScalingGroupName=self.case.group, DesiredCapacity=1)
            self.case.booted(2)
            self._look()
            prices = {"StopAt": "2099-01-01T00:00:00Z", "CeilingUsd": "1000", "MaxPricePerHour": "9"}
            first.deploy(prices)
            self._redeploy(self.settings)
            self._look()

    story = Careless(stage, (first, second), SEED, 0).play()
    text = "\n".join(story.wrong)
    assert "the group was at 0" in text
    assert "ran when the group was at 0" in text
    assert "a redeploy moved StopAt" in text
    assert "the group pays up to $9" in text
