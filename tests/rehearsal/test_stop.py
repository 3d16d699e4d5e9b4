"""Stopped, restarted, stopped, restarted, with real boxes: no step is done twice, and nothing lives in between."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from cli.assembly import Assembly
from cli.deaths import TIME_FORMAT, change_bundle
from cli.logs import Logs, everything
from cli.saving import put_request
from cli.stage import RUN, Stage
from contract.layout import RunLayout
from contract.status import Phase, StopRequest
from rehearsal.case import Case
from rehearsal.deaths import Death
from tests.cli import schemas

STEPS = 56


def steps_of(stage: Stage, bucket: str, instance: str) -> tuple[int, list[int]]:
    """From which step its trainer went on, and which it did."""
    pieces = everything(Logs(stage.s3, bucket, RUN, "trainer", instance))
    text = b"".join(piece.data for piece in pieces).decode()
    resumed = re.findall(r"^resumed at step (\d+)$", text, re.MULTILINE)
    assert len(resumed) == 1, text
    return int(resumed[0]), [int(step) for step in re.findall(r"^step (\d+)$", text, re.MULTILINE)]


def signspot(stage: Stage, command: str, *words: str) -> Any:
    return schemas.check(command, stage.signspot(command, *words, "--json"))


def test_a_run_that_was_stopped_goes_on_from_the_very_step(stage: Stage, assembly: Assembly) -> None:
    trainer = Death("none", lambda _: None, steps=STEPS)
    outputs = assembly.deploy(bundle=change_bundle(trainer))
    stop_at = datetime.strptime(outputs["StopAt"], TIME_FORMAT).replace(tzinfo=UTC)
    bucket, layout = outputs["Bucket"], RunLayout(RUN)
    case = Case(stage.aws, stage.datacenter, layout, bucket, outputs["Group"], stop_at, len(stage.datacenter.boxes))
    try:
        case.training(checkpoint_step=2)
        put_request(stage.s3, bucket, RUN, StopRequest(asked_at=datetime.now(UTC)))  # and the laptop dies
        case.wait("the box leaves, and takes its group to 0", lambda: case.over)
        first = case.status()
        assert first and first.phase is Phase.INTERRUPTED and not first.trouble
        assert first.checkpoint_step == first.progress.step >= 2

        assert signspot(stage, "restart", RUN, "--yes")["step"] == first.checkpoint_step
        case.wait("another box", lambda: len(case.alive) == 1)
        case.training(checkpoint_step=first.checkpoint_step + 2)
        (stopped,) = signspot(stage, "stop", RUN)["runs"]
        assert stopped["saved"] and case.over
        second = case.status()
        assert second and second.checkpoint_step == second.progress.step == stopped["step"]

        signspot(stage, "restart", RUN, "--yes")
        case.wait("the last box", lambda: len(case.alive) == 1)
        case.wait("the end", lambda: case.over)
        last = case.status()
        assert last and (last.phase, last.attempts) == (Phase.DONE, 3)

        did = [steps_of(stage, bucket, box.instance_id) for box in case.boxes]
        assert [resumed for resumed, _ in did] == [0, first.checkpoint_step, second.checkpoint_step]
        assert [step for _, steps in did for step in steps] == list(range(1, STEPS + 1)), "none twice, none left out"

        (row,) = signspot(stage, "ls")["runs"]
        assert (row["run"], row["phase"], row["desired"]) == (RUN, "done", 0)
        seen = {one["instance"]: one["seconds"] for one in signspot(stage, "cost", RUN)["attempts"]}
        assert set(seen) == {box.instance_id for box in case.boxes}
        assert all(60 <= seconds < 120 for seconds in seen.values()), seen
    finally:
        assembly.destroy()
