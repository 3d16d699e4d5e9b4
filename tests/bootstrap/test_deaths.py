"""Every way in which a box could live on without use: each ends, with an exit code, a status and a reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from test_agent import TRAINER, MakeBox, ScriptedMetadata, agent, events_of, log_of, python_in_venv, status_of, trainer
from test_outage import Outage

from bootstrap.agent import Agent
from bootstrap.metadata import Metadata
from bootstrap.state import Box
from contract.box import EXIT_SAVED
from contract.errors import StorageError
from contract.status import Phase

LIMIT = timedelta(minutes=3)
HANG = "    if step == {at} and {when}: signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)\n"
FIRST_TIME = "not (ck.parent / 'hung').exists() and not (ck.parent / 'hung').touch()"


def hanging(at: int, when: str = "True", steps: int = 40) -> tuple[str, ...]:
    """A trainer that stops at this step, deaf to SIGTERM."""
    return ("python", "-c", TRAINER.replace("    if stop:", HANG.format(at=at, when=when) + "    if stop:"), str(steps))


def kinds(s3: Any) -> list[str]:
    return [event.kind for event in events_of(s3)]


# --- the trainer -------------------------------------------------------------------------------------


def test_a_stalled_trainer_is_killed_and_goes_on_from_its_checkpoint(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", hanging(25, FIRST_TIME), stall_minutes="0.05", grace_seconds="1")
    assert agent(box).run() == 0
    assert status_of(s3).phase is Phase.DONE
    assert log_of(s3, "i-1").splitlines() == ["begins at 0", "begins at 20"]
    assert kinds(s3) == ["booting", "ready", "training", "stalled", "training", "done"]


def test_a_trainer_that_always_stalls_is_given_up_although_each_start_makes_a_step(make_box: MakeBox, s3: Any) -> None:
    always = TRAINER.replace("    if stop:", HANG.format(at="at", when="True") + "    if stop:")
    command = ("python", "-c", always.replace("while step", "at = step + 12\nwhile step", 1), "400")
    box = make_box("i-1", command, stall_minutes="0.04", grace_seconds="1", max_attempts="3")
    assert agent(box).run() == 6
    status = status_of(s3)
    assert status.phase is Phase.FAILED
    assert "no training step for 0.04 minutes" in status.reason
    assert status.checkpoint_step == 30
    assert kinds(s3).count("stalled") == 3


def test_a_trainer_that_never_begins_is_given_up(make_box: MakeBox, s3: Any) -> None:
    command = ("python", "-c", "import time; time.sleep(600)")
    box = make_box("i-1", command, stall_minutes="0.02", grace_seconds="1", max_attempts="2")
    assert agent(box).run() == 6
    assert "there was none yet" in status_of(s3).reason


def test_an_idle_gpu_ends_the_run_saved_although_the_trainer_makes_steps(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(100_000), idle_minutes="0.03")
    life = Agent(
        box,
        ScriptedMetadata(),
        preparations=(python_in_venv,),
        sleep=lambda seconds: time.sleep(min(seconds, 0.05)),
        gpu=lambda: 0,
    )
    assert life.run() == 6
    status = status_of(s3)
    assert status.phase is Phase.FAILED
    assert "the GPU was idle (below 5 %) for 0.03 minutes" in status.reason
    assert status.checkpoint_step == status.progress.step > 0
    assert kinds(s3)[-2:] == ["idle", "failed"]


def test_without_a_gpu_no_steps_end_the_run(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", hanging(25), idle_minutes="0.03", grace_seconds="1")
    assert agent(box).run() == 6
    assert "no training step" in status_of(s3).reason
    assert status_of(s3).checkpoint_step == 20


def test_a_trainer_that_ignores_sigterm_is_killed_after_its_grace(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", hanging(25), grace_seconds="1")
    began = time.monotonic()
    assert agent(box, ScriptedMetadata(box, notice_at_step=25)).run() == EXIT_SAVED
    assert time.monotonic() - began < 60
    status = status_of(s3)
    assert (status.phase, status.checkpoint_step, status.cut_off) == (Phase.INTERRUPTED, 20, True)
    assert "did not save itself (exit -9)" in next(one.message for one in events_of(s3) if one.kind == "interrupted")


def test_neither_a_slow_s3_nor_its_absence_is_a_stall(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(400), stall_minutes="0.02", idle_minutes="0.02")
    outage = Outage(box, requests=40)
    outage.on = False
    life = agent(box)
    train = life._train

    def away() -> int:
        outage.on = True
        return train()

    life._train = away  # type: ignore[method-assign]
    assert life.run() == 0
    assert not {"stalled", "idle"} & set(kinds(s3))


# --- S3, credentials, metadata -----------------------------------------------------------------------


class Time:
    """A clock that only the agent's own sleep moves, not that of the threads beside it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            self.now += timedelta(seconds=max(seconds, 0.05))
        time.sleep(0.002)


def agent_in(clock: Time, box: Box, hours: float = 5) -> Agent:
    """With the patience of a real one, and its run's deadline in so many hours."""
    return Agent(
        replace(box, stop_at=clock.now + timedelta(hours=hours)),
        ScriptedMetadata(),
        preparations=(python_in_venv,),
        sleep=clock.sleep,
        now=clock,
    )


def test_s3_gone_for_good_at_boot_the_deadline_ends_the_box_and_no_other_takes_its_place(make_box: MakeBox) -> None:
    clock = Time()
    box = make_box("i-1", trainer(20))
    Outage(box)
    began = clock.now
    assert agent_in(clock, box).run() not in (0, EXIT_SAVED)
    assert timedelta(hours=5) - LIMIT <= clock.now - began <= timedelta(hours=5)


def drain_nothing(life: Agent) -> None:
    """What could not be told is not waited for in real time."""
    life._voice.drain = life._voice._silent.set  # type: ignore[method-assign]


@pytest.mark.parametrize("steps", [100_000, 60], ids=["while training", "when done"])
def test_s3_gone_for_good_while_training_the_deadline_ends_the_box(make_box: MakeBox, s3: Any, steps: int) -> None:
    clock = Time()
    box = make_box("i-1", trainer(steps))
    outage = Outage(box)
    outage.on = False
    life = agent_in(clock, box, hours=0.5)
    watch = life._watch

    def away(*arguments: Any) -> Any:
        outage.on = True
        return watch(*arguments)

    life._watch = away  # type: ignore[method-assign]
    drain_nothing(life)
    began = clock.now
    assert life.run() not in (0, EXIT_SAVED)
    assert clock.now - began <= timedelta(hours=0.5)
    assert box.load().phase is Phase.EXPIRED  # for the epitaph
    assert status_of(s3).phase in (Phase.BOOTING, Phase.TRAINING)


def test_patience_ends_a_box_long_before_a_far_deadline_and_leaves_the_run_to_the_next(make_box: MakeBox) -> None:
    box = make_box("i-1", trainer(20))
    Outage(box)
    life = Agent(
        replace(box, stop_at=datetime.now(UTC) + timedelta(hours=5)),
        ScriptedMetadata(),
        patience_seconds=0.1,
        sleep=lambda _: time.sleep(0.05),
    )
    assert life.run() == EXIT_SAVED


def refuse_from(box: Box, error: Exception, on: Callable[[], bool]) -> None:
    def refuse(**_: object) -> None:
        if on():
            raise error

    box.store._objects._s3.meta.events.register("before-parameter-build.s3", refuse)


DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_credentials_that_are_refused_from_the_start_end_the_box_at_once(make_box: MakeBox, code: str) -> None:
    box = make_box("i-1", trainer(20))
    refuse_from(box, ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject"), lambda: True)
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:  # main() makes an exit code of it
        agent(box).run()
    assert caught.value.exit_code not in (0, EXIT_SAVED)
    assert time.monotonic() - began < 30


def test_credentials_that_are_refused_in_the_middle_end_the_box_when_it_has_trained(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(150))
    refuse_from(box, DENIED, box.paths.progress.exists)
    life = agent(box)
    drain_nothing(life)
    with pytest.raises(StorageError) as caught:
        life.run()
    assert caught.value.exit_code not in (0, EXIT_SAVED)
    assert list(box.paths.model.iterdir()), "the trainer was left to end"


def test_credentials_that_are_refused_in_the_middle_do_not_outlive_the_deadline(make_box: MakeBox) -> None:
    clock = Time()
    box = make_box("i-1", trainer(1_000_000))
    refuse_from(box, DENIED, box.paths.progress.exists)
    life = agent_in(clock, box, hours=0.5)
    drain_nothing(life)
    began = clock.now
    with pytest.raises(StorageError):
        life.run()
    assert clock.now - began <= timedelta(hours=0.5)


def test_a_dead_metadata_service_gives_no_credentials_and_the_deadline_ends_the_box(make_box: MakeBox) -> None:
    clock = Time()
    box = make_box("i-1", trainer(20))
    refuse_from(box, NoCredentialsError(), lambda: True)
    life = agent_in(clock, box, hours=0.5)
    began = clock.now
    assert life.run() not in (0, EXIT_SAVED)
    assert clock.now - began <= timedelta(hours=0.5)


def test_a_dead_metadata_service_alone_stops_no_training(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(30))
    assert agent(box, Metadata("http://127.0.0.1:9", timeout_seconds=0.2)).run() == 0
    assert status_of(s3).phase is Phase.DONE
