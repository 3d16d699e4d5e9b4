"""Everything of one run in AWS, as a wiring diagram: what exists, and what may touch what."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

from aws_cdk import CfnOutput, Environment, Stack, Tags
from constructs import Construct

from contract.ceiling import Ceiling
from contract.layout import RunLayout
from infra import user_data
from infra.budget import Budget
from infra.bundle import CodeBundle
from infra.data import Dataset
from infra.deadline import Deadline
from infra.machine import Machine
from infra.network import Network
from infra.notify import Notify
from infra.quiet import silence_helpers
from infra.role import BoxRole
from infra.settings import Settings
from infra.storage import Storage


class SignspotStack(Stack):
    """`home` is the project's folder. The limits count from `now`, in UTC, unless an extension gives a `ceiling`."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: Settings,
        home: Path,
        now: datetime,
        ceiling: Ceiling | None = None,
        env: Environment | None = None,
    ) -> None:
        config, run, limits = settings.config, settings.config.run, settings.config.limits
        tags = {"signspot:run": run.name}
        super().__init__(scope, f"signspot-{run.name}", env=env, tags=tags, analytics_reporting=False)

        code = CodeBundle(self, "Code", home=home, config=config)
        data = Dataset(self, "Data", source=settings.data)
        storage = Storage(self, "Storage", layout=RunLayout(run.name), keep=run.keep_results)
        network = Network(self, "Network", ssh_from=config.access.ssh_from)
        notify = Notify(self, "Notify", email=config.notify.email) if config.notify.email else None
        if config.notify.monthly_budget_usd:
            Budget(self, "Budget", run=run.name, notify=config.notify)
        deadline = Deadline(self, "Deadline", ceiling=ceiling or Ceiling.of(limits, now))
        box = BoxRole(self, "Box")
        variables = {
            "RUN": run.name,
            "BUCKET": storage.bucket.bucket_name,
            "BUNDLE": code.uri,
            "DATA": data.uri,
            "REGION": self.region,
            "DEADMAN_MINUTES": str(math.ceil(limits.hours * 60)),
            "STOP_AT": deadline.time,
            "TOPIC": notify.topic.topic_arn if notify else "",
        }
        machine = Machine(
            self,
            "Machine",
            network=network,
            box=box,
            machine=config.machine,
            max_price=deadline.max_price,
            user_data=user_data.render(variables, (home / "bootstrap/user_data.sh").read_text(encoding="utf-8")),
        )

        code.grant_read(box)
        data.grant_read(box)
        storage.grant_run(box)
        machine.grant_end(box)
        if notify:
            notify.grant_publish(box)
        if config.access.ssh:
            machine.open_to(config.access.public_key)
        deadline.ends(machine.group)
        machine.group.node.add_dependency(storage.bucket)  # destroy ends the writer before it empties the bucket

        outputs = {
            "Run": run.name,
            "Bucket": storage.bucket.bucket_name,
            "Group": machine.group.auto_scaling_group_name,
            "Role": box.role.role_name,
            "StopAt": deadline.time,
            "CeilingUsd": deadline.ceiling_usd,
            "MaxPricePerHour": deadline.max_price,
            **({"Topic": notify.topic.topic_arn} if notify else {}),
        }
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
        for key, value in tags.items():
            Tags.of(self).add(key, value)
        silence_helpers(self)
        self.permissions = tuple(box.permissions)
