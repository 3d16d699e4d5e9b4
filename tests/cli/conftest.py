from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli.keys import find_key, public_half
from rehearsal.aws import EmulatedAws
from tests.cli.boxes import FakeBox
from tests.cli.runs import prepare


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Your key, in a home of its own."""
    (tmp_path / "home").mkdir()
    return find_key(tmp_path / "home").with_suffix("")


@pytest.fixture
def box(tmp_path: Path, private: Path) -> Iterator[FakeBox]:
    """An instance that takes your key."""
    made = FakeBox("i-1", tmp_path / "box", public_half(private).read_text())
    yield made
    made.end()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client


@pytest.fixture(scope="module")
def emulated() -> Iterator[EmulatedAws]:
    """One bootstrapped account for the tests of a module, each of which clears what it deployed."""
    with EmulatedAws() as aws:
        prepare(aws)
        yield aws


@pytest.fixture
def at_a_laptop(emulated: EmulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are run in this process ask that account."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it would keep the keys of another one
    for name, value in emulated.environment().items():
        monkeypatch.setenv(name, value)
