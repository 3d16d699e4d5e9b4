"""The fake says what moto says, for every request that the box makes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fake_s3 import FakeS3

BUCKET = "bucket"
ONE, TWO = (f'"{hashlib.md5(content).hexdigest()}"' for content in (b"1", b"2"))


@pytest.fixture(params=["fake", "moto"])
def client(request: pytest.FixtureRequest) -> Any:
    return FakeS3().client() if request.param == "fake" else request.getfixturevalue("s3")


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(Bucket=BUCKET, **arguments)
    return str(caught.value.response["Error"]["Code"])


def test_what_is_not_there(client: Any, tmp_path: Path) -> None:
    assert code_of(client.get_object, Key="a") == "NoSuchKey"
    assert code_of(client.head_object, Key="a") == "404"
    with pytest.raises(ClientError, match="404"):
        client.download_file(BUCKET, "a", str(tmp_path / "a"))
    client.delete_object(Bucket=BUCKET, Key="a")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="a")
    assert not [page for page in pages if page.get("Contents")]
    assert code_of(client.put_object, Key="a", Body=b"1", IfMatch=ONE) in ("NoSuchKey", "404")


def test_conditions(client: Any) -> None:
    client.put_object(Bucket=BUCKET, Key="a", Body=b"1", IfNoneMatch="*")
    assert client.head_object(Bucket=BUCKET, Key="a")["ETag"] == ONE
    assert code_of(client.put_object, Key="a", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    assert code_of(client.put_object, Key="a", Body=b"2", IfMatch=TWO) == "PreconditionFailed"
    client.put_object(Bucket=BUCKET, Key="a", Body=b"2", IfMatch=ONE)
    answer = client.get_object(Bucket=BUCKET, Key="a")
    assert (answer["Body"].read(), answer["ETag"]) == (b"2", TWO)


def test_files(client: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    client.upload_file(str(tmp_path / "a"), BUCKET, "x/a")
    with (tmp_path / "a").open("rb") as file:
        client.put_object(Bucket=BUCKET, Key="x/b", Body=file)
    client.download_file(BUCKET, "x/b", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"1"
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="x/")
    assert [found["Key"] for page in pages for found in page["Contents"]] == ["x/a", "x/b"]
