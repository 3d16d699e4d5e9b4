"""Every way a run can end for good, by name. Enters: an account and a deployed run. Leaves: it in trouble for ever.

What has to follow from each: every instance ends, the group is at 0, nothing is replaced any more.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contract.errors import CloudError
from rehearsal.aws import Response
from rehearsal.case import Case, paralyse, power, processes_of
from rehearsal.datacenter import Box

TRAINER = Path(__file__).with_name("fake_trainer.py").read_text(encoding="utf-8")
REFUSED: Response = (403, {}, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
AWAY: Response = (503, {}, b"<Error><Code>ServiceUnavailable</Code><Message>Please retry</Message></Error>")
NOTICE_SECONDS = 8.0
HOURS = 100_000
"""Steps of a trainer that is not done before the fault."""
MARGIN_SECONDS = 180
"""The agent ends the run that long before the deadline (`bootstrap/agent.py`)."""
TRAINS_SECONDS = 25
"""From the deploy until a box surely trains."""
MISSING = f"./missing-1.0-py3-none-any.whl --hash=sha256:{'0' * 64}\n"
READY = f'#!/bin/bash\nln -s {sys.prefix} "$1/venv"\n'
"""In place of bootstrap/install.sh: the laptop's own environment, which holds all that the agent's would."""


@dataclass(frozen=True)
class Death:
    name: str
    strike: Callable[[Case], None]
    """Makes it happen and says when."""
    behaviour: str = "well"
    """Of the trainer: well, crash, hang, deaf, barren."""
    steps: int = HOURS
    phases: tuple[str, ...] = ("",)
    """One of these is the run's last; empty: whatever it was at the fault."""
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Of the box, by section, where they differ from the campaign's."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of the bundle that are others; None of them is: `bootstrap/install.sh` is `READY`."""
    user_data: tuple[str, str] = ("", "")
    """A piece of user data, and what stands there instead."""
    stop_in: float = 0
    """Seconds from the deploy to the deadline; 0: the hours of the settings."""
    limit_seconds: float = 120


def done(case: Case) -> None:
    case.marked(case.booted())


misbehaves = done


def dies_before_its_trap(case: Case) -> None:
    case.booted()
    case.struck()
    case.pass_deadline(3)


def at_boot(case: Case) -> None:
    case.booted()
    case.struck()


def loops_at_boot(case: Case) -> None:
    """Box after box fails in the same way; the outside killer ends it."""
    at_boot(case)
    with contextlib.suppress(CloudError):
        case.wait("a replacement", lambda: len(case.boxes) > 1 or not case.desired(), 30)
    if case.desired():
        case.pass_deadline(2)


def no_bundle(case: Case) -> None:
    case.refuse("s3/", REFUSED, only="cdk-")
    at_boot(case)


def no_checkpoint_verifies(case: Case) -> None:
    box = case.training(checkpoint_step=4)
    case.datacenter.kill(box.instance_id)
    case.struck()
    s3 = case.aws.client("s3")
    for found in s3.list_objects_v2(Bucket=case.bucket, Prefix=case.layout.checkpoints)["Contents"]:
        if not found["Key"].endswith("manifest.json"):
            s3.put_object(Bucket=case.bucket, Key=found["Key"], Body=b"damaged")


def agent_killed(case: Case) -> None:
    box = case.training(checkpoint_step=2)
    case.struck()
    for process in processes_of(box, "bootstrap.agent"):
        process.kill()


def notice_to_the_deaf(case: Case) -> None:
    box = case.training(checkpoint_step=2)
    case.datacenter.notice(box.instance_id, NOTICE_SECONDS)
    case.struck()


def deadline_for_the_deaf(case: Case) -> None:
    case.training()
    case.wait("the agent hears of the deadline", lambda: _now() >= case.stop_at - timedelta(seconds=MARGIN_SECONDS))
    case.struck()


def s3_gone(case: Case) -> None:
    case.training(checkpoint_step=2)
    case.refuse("s3/", AWAY)
    case.struck()


def refused_from_the_start(case: Case) -> None:
    case.refuse("", REFUSED)
    loops_at_boot(case)


def refused_in_the_middle(case: Case) -> None:
    case.training(checkpoint_step=2)
    case.refuse("", REFUSED)
    case.struck()
    with contextlib.suppress(CloudError):
        case.wait("a replacement", lambda: len(case.boxes) > 1, 40)
    case.pass_deadline(2)


def group_refuses_for_a_while(case: Case) -> None:
    case.refuse("autoscaling", REFUSED)
    case.marked(case.booted())
    time.sleep(8)
    case.aws.fault = None


def group_refuses_until_the_replacement(case: Case) -> None:
    """The box gives up asking and powers off; its replacement has nothing to do but to ask again."""
    case.refuse("autoscaling", REFUSED)
    case.marked(case.booted())
    replacement = case.booted(2)
    case.aws.fault = None
    case.wait("the end", lambda: case.over)
    if replacement.sandbox.path("/opt/signspot/bootstrap").exists():
        raise CloudError("the replacement was set up although the run was done")


def group_refuses_for_good(case: Case) -> None:
    case.refuse("autoscaling", REFUSED)
    case.marked(case.booted())
    case.pass_deadline(8)


def scheduled_action_alone(case: Case) -> None:
    box = case.training(checkpoint_step=2)
    paralyse(box)
    power(box).unlink()
    case.struck()
    case.pass_deadline(3)


def dead_man_alone(case: Case) -> None:
    """The timer is what user data armed; only its hour is brought forward."""
    box = case.training(checkpoint_step=2)
    paralyse(box)
    case.struck()
    armed = power(box)
    if float(armed.read_text()) < time.time():
        raise CloudError("the dead-man timer was not armed for later")
    armed.write_text(f"{time.time() + 3:.0f}\n")


def boots_without_progress(case: Case) -> None:
    for number in (1, 2):
        box = case.booted(number)

        def owns(box: Box = box) -> bool:
            status = case.status()
            return bool(status and status.instance == box.instance_id)

        case.wait("the box owns the run", owns)
        if number == 1:
            case.struck()
        case.datacenter.kill(box.instance_id)


def _now() -> datetime:
    return datetime.now(UTC)


LATER = MARGIN_SECONDS + TRAINS_SECONDS
REAL_INSTALL = (Path(__file__).parents[1] / "bootstrap/install.sh").read_text(encoding="utf-8")
PATIENT = {"limits": {"stall_minutes": 60, "idle_minutes": 0.1}}
TRAP = "trap finish EXIT\n"

DEATHS = (
    Death("training done", done, steps=8, phases=("done",)),
    Death("trainer crashes at once, always", misbehaves, "crash", phases=("failed",)),
    Death("user data fails in line 1, before its trap", dies_before_its_trap, user_data=("set -E", "exit 1\nset -E")),
    Death("user data fails in the line after its trap", loops_at_boot, user_data=(TRAP, f"{TRAP}false\n")),
    Death("bundle download fails", no_bundle),
    Death(
        "install of the agent fails",
        at_boot,
        files={"bootstrap/install.sh": REAL_INSTALL, "requirements/uv.txt": MISSING},
    ),
    Death(
        "install of the trainer fails",
        at_boot,
        files=dict.fromkeys(("requirements/box.txt", "requirements/box-gpu.txt"), MISSING),
        phases=("failed",),
    ),
    Death("restore fails: checkpoints exist, none verifies", no_checkpoint_verifies, phases=("failed",)),
    Death("agent killed with -9", agent_killed),
    Death("trainer hangs", misbehaves, "hang", phases=("failed",)),
    Death("machine held idle", misbehaves, "hang", phases=("failed",), settings=PATIENT),
    Death("trainer ignores SIGTERM, on a notice", notice_to_the_deaf, "deaf", 60, phases=("done",)),
    Death(
        "trainer ignores SIGTERM, at the deadline", deadline_for_the_deaf, "deaf", phases=("expired",), stop_in=LATER
    ),
    Death("network to S3 gone for good", s3_gone, stop_in=LATER, limit_seconds=LATER),
    Death("role refused from the start", refused_from_the_start),
    Death("role refused in the middle", refused_in_the_middle, steps=24),
    Death("group API refuses for a while", group_refuses_for_a_while, steps=8, phases=("done",)),
    Death(
        "group API refuses until the box is replaced",
        group_refuses_until_the_replacement,
        steps=8,
        phases=("done",),
        user_data=("1 2 4 8 16 32 0", "1 0"),
    ),
    Death("group API refuses for good", group_refuses_for_good, steps=8, phases=("done",)),
    Death("scheduled action alone", scheduled_action_alone),
    Death("dead-man timer alone", dead_man_alone, steps=60, phases=("done",)),
    Death("boots in a row without progress", boots_without_progress, "barren", phases=("failed",)),
)
