"""Mail about the run: a topic with one subscriber; not created unless an address is set."""

from __future__ import annotations

from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra import permissions
from infra.acknowledge import acknowledge
from infra.names import name_in_template
from infra.role import BoxRole


class Notify(Construct):
    def __init__(self, scope: Construct, id: str, *, email: str) -> None:
        super().__init__(scope, id)
        self.topic = sns.Topic(self, "Topic", enforce_ssl=True)
        name_in_template(self.topic, "NotifyTopic")
        acknowledge(
            self.topic,
            "CKV_AWS_26",
            "A message names the run and its phase, and leaves AWS as plain mail: a key would guard nothing.",
        )
        self.topic.add_subscription(subscriptions.EmailSubscription(email))

    def grant_publish(self, box: BoxRole) -> None:
        box.allow(permissions.notify(self.topic.topic_arn))
