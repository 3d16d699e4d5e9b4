from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from bootstrap.state import Box
from bootstrap.store import RunStore
from contract.box import BoxPaths
from contract.config import Config, load_config

sys.path.insert(0, str(Path(__file__).parent))  # for fake_s3
BUCKET = "bucket"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def store(s3: Any) -> RunStore:
    return RunStore(s3, BUCKET, "demo")


@pytest.fixture
def make_box(s3: Any, tmp_path: Path) -> Callable[..., Box]:
    """A box of its own root; the trainer is whatever command is given."""

    def make(instance: str, command: tuple[str, ...] = ("true",), **settings: str) -> Box:
        paths = BoxPaths(tmp_path / instance)
        for directory in (paths.home, paths.logs, paths.checkpoints, paths.training):
            directory.mkdir(parents=True)
        config = load_config(None, {"run": "demo", "checkpoint_seconds": "1", "heartbeat_seconds": "1", **settings})
        config = Config.model_validate(config.model_dump() | {"trainer": {"command": command}})
        paths.config.write_text(config.model_dump_json())
        return Box.from_environment(
            {
                "RUN": "demo",
                "BUCKET": BUCKET,
                "DATA": "s3://bucket/data.zip",
                "INSTANCE_ID": instance,
                "SIGNSPOT_ROOT": str(paths.root),
                "PATH": os.environ["PATH"],
            }
        )

    return make


@pytest.fixture(autouse=True)
def _bash_is_there() -> None:
    assert shutil.which("bash")
