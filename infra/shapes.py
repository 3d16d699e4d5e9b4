"""Every shape that the stack can take, for what looks at templates: the auditors and the page of permissions.

Enters: nothing but the code; the settings are examples. Leaves: stacks and their templates, as `cdk synth` gives them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.node import use_own_node

use_own_node(os.environ)

from aws_cdk import App  # noqa: E402

from contract.config import AccessConfig, Config, MachineConfig, NotifyConfig, RunConfig  # noqa: E402
from infra.data import S3Prefix  # noqa: E402
from infra.permissions import Permission  # noqa: E402
from infra.settings import Settings  # noqa: E402
from infra.stack import SignspotStack  # noqa: E402

HOME = Path(__file__).resolve().parent.parent
KEY = "ssh-ed25519 AAAA"
RUN = RunConfig(name="demo")
MAIL = NotifyConfig(email="you@example.org", monthly_budget_usd=20)
CLOSED = Config(run=RUN)
OPENED = Config(run=RUN, access=AccessConfig(ssh_from="203.0.113.7/32", public_key=KEY), notify=MAIL)
KEPT = Config(
    run=RunConfig(name="demo", keep_results=True),
    access=AccessConfig(ssh_from="2001:db8::7/128", public_key=KEY),
    notify=MAIL,
)
CLUSTER = Config(
    run=RunConfig(name="demo", job="extract"),
    machine=MachineConfig(boxes=3),
    access=AccessConfig(ssh_from="203.0.113.7/32", public_key=KEY),
)


@dataclass(frozen=True)
class Shape:
    template: dict[str, Any]
    permissions: tuple[Permission, ...]
    """Of the box, and of a cluster's workers."""


def every_shape() -> dict[str, Shape]:
    """As it is by default; with all that is optional; with the bucket kept, over IPv6, the data in S3; a cluster."""
    with TemporaryDirectory() as data:
        return {
            "closed": synthesise(Settings(CLOSED, Path(data))),
            "opened": synthesise(Settings(OPENED, Path(data))),
            "cluster": synthesise(Settings(CLUSTER, Path(data))),
            "kept": synthesise(Settings(KEPT, S3Prefix("your-bucket", "signs/"))),
        }


def synthesise(settings: Settings) -> Shape:
    with TemporaryDirectory() as out:
        app = App(outdir=out, context=json.loads((HOME / "cdk.json").read_text(encoding="utf-8"))["context"])
        stack = SignspotStack(app, settings=settings, home=HOME, now=datetime(2030, 1, 1, tzinfo=UTC))
        return Shape(app.synth().get_stack_by_name(stack.stack_name).template, stack.permissions)
