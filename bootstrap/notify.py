"""Tells the run's SNS topic, where there is one. Enters: a kind of event. Leaves: a message, or a warning."""

from __future__ import annotations

import logging

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from bootstrap.state import Box

log = logging.getLogger(__name__)


def publish(box: Box, kind: str, message: str) -> None:
    """Never worth failing for: the same is in the run's events."""
    if not box.topic:
        return
    run = box.config.run.name
    try:
        boto3.client("sns").publish(TopicArn=box.topic, Subject=f"signspot {run}: {kind}", Message=message)
    except (BotoCoreError, ClientError) as error:
        log.warning("the topic could not be told: %s", error)
