from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli.clips import SUFFIXES, fetch_clips
from contract.errors import DataError, StorageError
from trainer.video import VIDEO_SUFFIXES


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "ACCESS_KEY_ID": "testing",
        "SECRET_ACCESS_KEY": "testing",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="clips")
        for key in ("raw/tea/a.mp4", "raw/tea/b.MOV", "raw/tea/notes.txt", "rawest/c.mp4"):
            client.put_object(Bucket="clips", Key=key, Body=key.encode())
        yield client


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_clips_below_the_prefix_are_here_and_only_what_changed_is_fetched_again(s3: Any, tmp_path: Path) -> None:
    folder = fetch_clips(s3, "s3://clips/raw", tmp_path)
    assert names(folder) == {"tea/a.mp4", "tea/b.MOV"}
    assert (folder / "tea/a.mp4").read_bytes() == b"raw/tea/a.mp4"

    asked = []
    s3.meta.events.register("before-call.s3.GetObject", lambda **about: asked.append(about))
    s3.put_object(Bucket="clips", Key="raw/tea/a.mp4", Body=b"another")
    s3.delete_object(Bucket="clips", Key="raw/tea/b.MOV")
    assert fetch_clips(s3, "s3://clips/raw/", tmp_path) == folder
    assert names(folder) == {"tea/a.mp4"}
    assert (folder / "tea/a.mp4").read_bytes() == b"another"
    assert len(asked) == 1


def test_what_is_wrong_is_said(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no clip"):
        fetch_clips(s3, "s3://clips/nothing", tmp_path)
    with pytest.raises(StorageError, match="cannot be listed"):
        fetch_clips(s3, "s3://not-there/raw", tmp_path)
    s3.put_object(Bucket="clips", Key="raw/../../../evil.mp4", Body=b"")
    with pytest.raises(StorageError, match="outside"):
        fetch_clips(s3, "s3://clips/raw", tmp_path)


def test_these_are_the_suffixes_of_the_trainer() -> None:
    assert SUFFIXES == VIDEO_SUFFIXES
