"""Each variant of the stack is synthesised once per session; tests ask for it by its overrides."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.node import use_own_node

if TYPE_CHECKING:
    from aws_cdk import App

    from infra.stack import SignspotStack

use_own_node(os.environ)

HOME = Path(__file__).resolve().parents[2]
NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
OWNER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3mVn3rP1m0bJ3hJ0G4k4c1Zc8mWqz3mS9yJ8kT0Q1a"

Build = Callable[..., "SignspotStack"]
Synthesise = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "dataset.csv").write_text("path,label,split\na.npy,hello,train\n")
    (folder / "a.npy").write_bytes(b"keypoints")
    return folder


@pytest.fixture(scope="session")
def build(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Puts the stack of these overrides into an app."""
    from infra.settings import read_settings
    from infra.stack import SignspotStack

    empty_home = tmp_path_factory.mktemp("no-settings-file")

    def build(app: App, **overrides: str) -> SignspotStack:
        context = {"run": "demo", "data.path": str(dataset), **overrides}
        return SignspotStack(app, settings=read_settings(context, empty_home), home=HOME, now=NOW)

    return build


@pytest.fixture(scope="session")
def synthesise(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Synthesise:
    from aws_cdk import App

    flags = json.loads((HOME / "cdk.json").read_text(encoding="utf-8"))["context"]
    templates: dict[str, dict[str, Any]] = {}

    def synthesise(**overrides: str) -> dict[str, Any]:
        key = repr(sorted(overrides.items()))
        if key not in templates:
            app = App(context=flags, outdir=str(tmp_path_factory.mktemp("cdk")))
            stack = build(app, **overrides)
            templates[key] = app.synth().get_stack_by_name(stack.stack_name).template
        return templates[key]

    return synthesise


@pytest.fixture(scope="session")
def closed(synthesise: Synthesise) -> dict[str, Any]:
    """The default: no port open, nobody told."""
    return synthesise()


@pytest.fixture(scope="session")
def opened(synthesise: Synthesise) -> dict[str, Any]:
    """Everything optional switched on."""
    return synthesise(
        ssh_from="203.0.113.7/32", public_key=OWNER_KEY + " me@laptop", email="you@example.org", monthly_budget_usd="20"
    )


@pytest.fixture(scope="session")
def six(synthesise: Synthesise) -> dict[str, Any]:
    return synthesise(ssh_from="2001:db8::7/128", public_key=OWNER_KEY)


@pytest.fixture(scope="session")
def from_s3(synthesise: Synthesise) -> dict[str, Any]:
    return synthesise(**{"data.path": "s3://your-bucket/signs"})


@pytest.fixture(scope="session")
def cluster(synthesise: Synthesise) -> dict[str, Any]:
    """Three workers and a head, with its door open."""
    return synthesise(boxes="3", job="extract", ssh_from="203.0.113.7/32", public_key=OWNER_KEY)


@pytest.fixture(scope="session")
def kept(synthesise: Synthesise) -> dict[str, Any]:
    return synthesise(keep_results="true")
