"""The last word on an agent that could not speak: what it may say, and when it must be silent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends
from one_box import NoMetadata
from test_agent import MakeBox, events_of, log_of, status_of, trainer

from bootstrap import epitaph
from bootstrap.state import Box
from bootstrap.sync import sync
from bootstrap.takeover import restore, take_over
from contract.errors import StaleLease, StorageError
from contract.status import Phase

KILLED = 137


@pytest.fixture
def training(make_box: MakeBox, s3: Any) -> Box:
    """A box whose agent was killed while it trained."""
    box = make_box("i-1", trainer(100))
    take_over(box, NoMetadata(), None)
    restore(box, lambda _: None)
    box.enter(Phase.TRAINING)
    sync(box)
    return box


def test_a_killed_agent_leaves_a_final_status_its_reason_and_the_last_logs(training: Box, s3: Any) -> None:
    (training.paths.logs / "trainer.log").write_text("step 7\nTraceback: the last thing it said\n")
    (training.paths.logs / "boot.log").write_text("Killed\n")
    (training.paths.checkpoints / "step-00000007").write_text("7")
    epitaph.write(training, NoMetadata(), KILLED)
    status = status_of(s3)
    assert (status.phase, status.checkpoint_step) == (Phase.FAILED, 7)
    assert "killed by signal 9" in status.reason
    assert "the last thing it said" in log_of(s3, "i-1")
    assert log_of(s3, "i-1", "boot") == "Killed\n"
    assert [event.kind for event in events_of(s3)] == ["failed"]


@pytest.mark.parametrize("phase", [Phase.TRAINING, Phase.DONE])
def test_a_run_that_died_of_it_is_mailed(training: Box, phase: Phase) -> None:
    """The agent mails its own endings; who is killed cannot."""
    topic = boto3.client("sns").create_topic(Name="run")["TopicArn"]
    training.enter(phase)
    epitaph.write(replace(training, topic=topic), NoMetadata(), KILLED)
    sent = sns_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].topics[topic].sent_notifications
    assert [note[2] for note in sent] == (["signspot demo: failed"] if phase is Phase.TRAINING else [])


def test_saying_it_twice_says_it_once(training: Box, s3: Any) -> None:
    for _ in range(2):
        epitaph.write(training, NoMetadata(), KILLED)
    assert [event.kind for event in events_of(s3)] == ["failed"]


@pytest.mark.parametrize("phase", [Phase.DONE, Phase.FAILED, Phase.EXPIRED])
def test_what_the_agent_has_said_stays(training: Box, s3: Any, phase: Phase) -> None:
    """The agent died between entering the phase and its last sync: the model is in S3 already, say."""
    training.enter(phase, "as the agent said")
    epitaph.write(training, NoMetadata(), KILLED)
    assert (status_of(s3).phase, status_of(s3).reason) == (phase, "as the agent said")


def test_a_final_status_in_s3_stays_although_the_disk_knows_nothing_of_it(training: Box, s3: Any) -> None:
    before = training.load()
    training.enter(Phase.DONE, "the model is in S3")
    sync(training)
    training.save(before)
    epitaph.write(training, NoMetadata(), KILLED)
    assert status_of(s3).phase is Phase.DONE


def test_a_box_that_was_overtaken_says_nothing(training: Box, make_box: MakeBox, s3: Any) -> None:
    new = make_box("i-2")
    take_over(new, NoMetadata(), training.store.read_status())
    with pytest.raises(StaleLease):
        epitaph.write(training, NoMetadata(), KILLED)
    assert (status_of(s3).instance, status_of(s3).phase) == ("i-2", Phase.BOOTING)


def test_an_agent_that_died_before_it_owned_a_new_run_is_spoken_for(make_box: MakeBox, s3: Any) -> None:
    epitaph.write(make_box("i-1"), NoMetadata(), 1)
    assert status_of(s3).phase is Phase.FAILED
    assert "exit code 1" in status_of(s3).reason


def test_an_agent_that_died_before_it_took_over_from_another_is_not(training: Box, make_box: MakeBox, s3: Any) -> None:
    with pytest.raises(StorageError, match="taken the run over"):
        epitaph.write(make_box("i-2"), NoMetadata(), 1)
    assert (status_of(s3).instance, status_of(s3).phase) == ("i-1", Phase.TRAINING)


def test_a_checkpoint_that_s3_refuses_does_not_keep_the_status_from_being_written(training: Box, s3: Any) -> None:
    def refuse(params: dict[str, Any], **_: object) -> None:
        if "checkpoints/" in params["Key"]:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    training.store._objects._s3.meta.events.register("provide-client-params.s3.PutObject", refuse)
    (training.paths.checkpoints / "step-00000007").write_text("7")
    with pytest.raises(StorageError):
        epitaph.write(training, NoMetadata(), KILLED)
    assert status_of(s3).phase is Phase.FAILED


HANGS = """
import signal, sys, time
from bootstrap import epitaph
epitaph.SECONDS = 1
epitaph.write = lambda *_: time.sleep(60)
epitaph.Box.from_environment = lambda *_: None
sys.argv = ["epitaph", "1"]
epitaph.main()
"""


def test_it_ends_wherever_it_hangs() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANGS], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - began < 30
