"""cdk-nag's AwsSolutions rules: nothing is left that was not acknowledged, beside its resource, with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack, Validations
from aws_cdk import aws_s3 as s3
from cdk_nag import AwsSolutionsChecks

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3mVn3rP1m0bJ3hJ0G4k4c1Zc8mWqz3mS9yJ8kT0Q1a"
EVERYTHING = {"ssh_from": "203.0.113.7/32", "public_key": KEY, "email": "you@example.org", "monthly_budget_usd": "20"}


@pytest.fixture
def strict_app(tmp_path: Path) -> App:
    app = App(outdir=str(tmp_path))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app, verbose=True))
    return app


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        EVERYTHING,
        {"data.path": "s3://your-bucket/signs"},
        {"keep_results": "true"},
        {"boxes": "3", "job": "extract"},
    ],
)
def test_no_finding_is_left_unacknowledged(strict_app: App, build: Any, overrides: dict[str, str]) -> None:
    build(strict_app, **overrides)
    strict_app.synth()


def test_the_rules_do_find_a_careless_bucket(strict_app: App) -> None:
    s3.Bucket(Stack(strict_app, "Careless"), "Bucket")
    with pytest.raises(RuntimeError, match="AwsSolutions-S10"):
        strict_app.synth()
