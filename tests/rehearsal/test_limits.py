"""The limits of a run under the real CDK CLI: kept by every deploy, moved only on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.ceiling import Ceiling, kept_by
from rehearsal.aws import EmulatedAws

HOME = Path(__file__).resolve().parents[2]


class Laptop:
    def __init__(self, aws: EmulatedAws, folder: Path) -> None:
        self.aws, self.folder = aws, folder
        (folder / "data").mkdir()
        (folder / "data/dataset.csv").write_text("path,label,split\na.npy,hello,train\n")
        (folder / "cdk.json").write_text(json.dumps({"app": f"{sys.executable} {HOME}/app.py"}))

    def run(self, *command: str) -> str:
        environment = self.aws.environment(os.environ) | {"CDK_DISABLE_VERSION_CHECK": "1", "NO_COLOR": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def deploy(self, *arguments: str) -> str:
        settings = ["-c", "run=demo", "-c", f"data.path={self.folder}/data", "-c", "max_usd=5", "-c", "max_hours=20"]
        cdk = [str(HOME / "node_modules/.bin/cdk"), "deploy", "--no-notices", "--require-approval", "never"]
        return self.run(*cdk, *settings, *arguments)

    @property
    def kept(self) -> Ceiling:
        return kept_by(dict(self.aws.client("cloudformation").describe_stacks(StackName="signspot-demo")))[0]

    @property
    def in_aws(self) -> tuple[str, datetime]:
        """What the group bids, and when the killer comes: what counts in the end."""
        scaling: Any = self.aws.client("autoscaling")
        (group,) = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        (action,) = scaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"]
        return group["MixedInstancesPolicy"]["InstancesDistribution"]["SpotMaxPrice"], action["StartTime"]


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    with EmulatedAws() as aws:
        laptop = Laptop(aws, tmp_path)
        place = f"aws://{aws.account}/{aws.region}"
        laptop.run(str(HOME / "node_modules/.bin/cdk"), "bootstrap", "--no-notices", place)
        yield laptop


def test_only_what_says_so_moves_a_limit(laptop: Laptop) -> None:
    half, dearer = ("-c", "max_price_per_hour=0.5"), ("-c", "max_price_per_hour=1.0")
    shown = laptop.deploy(*half)
    first = laptop.kept
    assert "CeilingUsd = 5.00" in shown and "not applied" not in shown
    assert laptop.in_aws == ("0.5", first.stop_at)

    shown = laptop.deploy(*dearer)
    assert laptop.kept == first
    assert laptop.in_aws == ("0.5", first.stop_at)
    assert "MaxPricePerHour=1.0" in shown and "signspot extend" in shown

    shown = laptop.deploy(*half, "-c", "extend_hours=2")
    assert laptop.kept == first, "the CDK CLI keeps what the stack has"
    assert "--no-previous-parameters" in shown

    laptop.deploy(*half, "-c", "extend_hours=2", "--no-previous-parameters")
    longer = laptop.kept
    assert (longer.stop_at - first.stop_at, str(longer.usd)) == (timedelta(hours=2), "6.00")
    assert laptop.in_aws == ("0.5", longer.stop_at)

    shown = laptop.run(sys.executable, "-m", "cli", "extend", "demo", "--hours", "1", "--yes")
    longest = laptop.kept
    assert (longest.stop_at - longer.stop_at, str(longest.usd)) == (timedelta(hours=1), "6.50")
    assert laptop.in_aws == ("0.5", longest.stop_at)
    assert "at most $6.00" in shown and "at most $6.50" in shown
