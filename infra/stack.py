"""Everything of one run in AWS, as a wiring diagram: what exists, and what may touch what."""

from __future__ import annotations

import math
from dataclasses import replace
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
from infra.machine import Machine, Order
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
        deadline = Deadline(self, "Deadline", ceiling=ceiling or Ceiling.of(limits, now, config.machine))
        box = BoxRole(self, "Box")
        variables = {
            "RUN": run.name,
            "BUCKET": storage.bucket.bucket_name,
            "BUNDLE": code.uri,
            "DATA": data.uri,
            "REGION": self.region,
            "DEADMAN_MINUTES": str(math.ceil(config.hours * 60)),
            "STOP_AT": deadline.time,
            "MAX_PRICE": deadline.max_price,
            "TOPIC": notify.topic.topic_arn if notify else "",
        }
        script = (home / "bootstrap/user_data.sh").read_text(encoding="utf-8")
        spot = Order(config.machine.instance_types, deadline.max_price)
        several = config.machine.boxes > 1
        inside, wall = network.add_cluster() if several else (None, None)
        machine = Machine(
            self,
            "Machine",
            network=network,
            doors=[network.door, *([inside] if inside else [])],
            box=box,
            machine=config.machine,
            order=Order([deadline.head_type], None) if several else spot,
            user_data=user_data.render(variables | ({"MODULE": "bootstrap.head"} if several else {}), script),
        )
        workers = None
        if inside and wall:
            worker = BoxRole(self, "Worker")
            workers = Machine(
                self,
                "WorkerMachine",
                network=network,
                doors=[wall, inside],
                box=worker,
                machine=config.machine,
                order=replace(spot, most=deadline.boxes),
                user_data=user_data.render(variables | {"MODULE": "bootstrap.worker", "TOPIC": ""}, script),
                name="Worker",
            )
            code.grant_read(worker)
            data.grant_read(worker)
            storage.grant_work(worker)
            workers.grant_end(worker)
            deadline.ends(workers.group, "StopWorkers")
            workers.group.node.add_dependency(storage.bucket)

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
            **deadline.kept,
            **({"Workers": workers.group.auto_scaling_group_name} if workers else {}),
            **({"Topic": notify.topic.topic_arn} if notify else {}),
        }
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
        for key, value in tags.items():
            Tags.of(self).add(key, value)
        silence_helpers(self)
        self.permissions = tuple(box.permissions + (worker.permissions if workers else []))
