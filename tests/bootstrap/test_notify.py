"""Which mails a run sends, where a topic is set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends
from test_agent import MakeBox, ScriptedMetadata, agent, trainer

from bootstrap.state import Box


def with_topic(box: Box) -> Box:
    return replace(box, topic=boto3.client("sns").create_topic(Name="run")["TopicArn"])


def subjects(box: Box) -> list[str | None]:
    topic = sns_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].topics[box.topic]
    return [note[2] for note in topic.sent_notifications]


def test_interrupted_resumed_and_done_are_mailed(make_box: MakeBox, s3: Any) -> None:
    first = with_topic(make_box("i-1", trainer(60)))
    agent(first, ScriptedMetadata(first, notice_at_step=20)).run()
    second = with_topic(make_box("i-2", trainer(60)))
    agent(second).run()
    assert subjects(second) == [f"signspot demo: {kind}" for kind in ("interrupted", "resumed", "done")]


def test_failed_is_mailed_once(make_box: MakeBox, s3: Any) -> None:
    box = with_topic(make_box("i-1", ("python", "-c", "exit(3)"), max_attempts="2"))
    assert agent(box).run() == 6
    assert subjects(box) == ["signspot demo: failed"]


def test_a_topic_that_refuses_is_no_reason_to_fail(make_box: MakeBox, s3: Any) -> None:
    box = replace(make_box("i-1", trainer(10)), topic="arn:aws:sns:us-east-1:123456789012:gone")
    assert agent(box).run() == 0
