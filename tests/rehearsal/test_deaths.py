"""Whatever happens: the instance ends, the group is at 0, nothing is replaced, the evidence is in S3, nothing is left.

The deaths that matter most and take least time; `signspot deaths` plays all of them.
"""

from __future__ import annotations

import pytest

from cli.assembly import Assembly
from cli.deaths import Play, Result
from cli.stage import Stage
from rehearsal.case import Case
from rehearsal.deaths import DEATHS, Death

TRAP = "its own trap"
ENDED_BY = {
    "training done": TRAP,
    "trainer crashes at once, always": TRAP,
    "user data fails in line 1, before its trap": "scheduled action",
    "user data fails in the line after its trap": TRAP,
    "bundle download fails": TRAP,
    "install of the agent fails": TRAP,
    "restore fails: checkpoints exist, none verifies": TRAP,
    "agent killed with -9": TRAP,
    "trainer hangs": TRAP,
    "machine held idle": TRAP,
    "group API refuses until the box is replaced": TRAP,
    "scheduled action alone": "scheduled action",
    "dead-man timer alone": TRAP,
    "boots in a row without progress": TRAP,
}
NO_EVIDENCE = {"user data fails in line 1, before its trap", "user data fails in the line after its trap"}
"""Before the boot log began: EC2's own console log is all there is."""


def play(stage: Stage, assembly: Assembly, death: Death) -> Result:
    return Play(stage.aws, stage.datacenter, assembly, death).run()


@pytest.mark.parametrize("death", [death for death in DEATHS if death.name in ENDED_BY], ids=lambda death: death.name)
def test_nothing_lives_on(stage: Stage, assembly: Assembly, death: Death) -> None:
    result = play(stage, assembly, death)
    consoles = "\n".join(box.sandbox.console.read_text(errors="replace") for box in stage.datacenter.boxes[-2:])
    assert result.over, f"{result.lives_on}\n{consoles[-5000:]}"
    assert result.by.rpartition(" → ")[2].startswith(ENDED_BY[death.name])
    assert result.seconds < death.limit_seconds
    assert death.name in NO_EVIDENCE or "boot" in result.logs


def test_every_name_above_is_a_death() -> None:
    assert ENDED_BY.keys() <= {death.name for death in DEATHS}


def test_a_run_that_lives_on_is_told(stage: Stage, assembly: Assembly) -> None:
    def nothing(case: Case) -> None:
        case.training()
        case.struck()

    result = play(stage, assembly, Death("nothing happens", nothing, limit_seconds=3))
    (box,) = [box for box in stage.datacenter.boxes if box.instance_id in result.lives_on]
    assert not result.over
    assert "group at 1" in result.lives_on
    assert box.cause == "terminated"
    assert not stage.datacenter.alive()


def test_a_run_that_ends_otherwise_than_it_should_is_told(stage: Stage, assembly: Assembly) -> None:
    done = next(death for death in DEATHS if death.name == "training done")
    result = play(stage, assembly, Death("fails", done.strike, steps=4, phases=("failed",)))
    assert result.lives_on == "the run is done, not failed"
