"""S3 in memory, at the same seam as boto3's client: the methods that `bootstrap.objects` calls, and no others.

ETags, `If-Match`, `If-None-Match` and error codes are S3's; `test_fake_s3.py` compares them with moto's.
"""

# ruff: noqa: N803
from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from botocore.exceptions import ClientError

Gate = Callable[[str, str, Callable[[], Any]], Any]
"""Given operation, key and the request: performs it, or fails before or after it."""


def refusal(code: str, status: int, operation: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )


class Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self) -> bytes:
        return self._content


class Folder(MutableMapping[str, bytes]):
    """Objects that outlive the process: one file each, there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(exist_ok=True)

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._file(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, content: bytes) -> None:
        temporary = self._path.with_name(f"{self._path.name}-{os.getpid()}-{threading.get_ident()}")
        temporary.write_bytes(content)
        temporary.replace(self._file(key))

    def __delitem__(self, key: str) -> None:
        self._file(key).unlink()

    def __iter__(self) -> Iterator[str]:
        return iter([unquote(path.name) for path in self._path.iterdir()])

    def __len__(self) -> int:
        return len(list(self._path.iterdir()))

    def _file(self, key: str) -> Path:
        return self._path / quote(key, safe="")


class FakeS3:
    """One bucket. `on_write` sees each put before it happens."""

    def __init__(self, objects: MutableMapping[str, bytes] | None = None) -> None:
        self.objects = {} if objects is None else objects
        self.on_write: Callable[[str, bytes], None] = lambda key, body: None

    def client(self, gate: Gate = lambda operation, key, request: request()) -> FakeClient:
        return FakeClient(self, gate)


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


class FakeClient:
    def __init__(self, s3: FakeS3, gate: Gate) -> None:
        self._s3 = s3
        self._gate = gate

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return self._gate("get", Key, lambda: {"Body": Body(self._there(Key)), "ETag": etag(self._there(Key))})

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return self._gate("head", Key, lambda: {"ETag": etag(self._there(Key, "404"))})

    def put_object(
        self,
        Bucket: str,
        Key: str,
        Body: Any,
        IfMatch: str | None = None,
        IfNoneMatch: str | None = None,
        ContentType: str = "",
    ) -> dict[str, str]:
        content = bytes(Body) if isinstance(Body, (bytes, bytearray)) else Body.read()

        def put() -> dict[str, str]:
            if IfNoneMatch == "*" and Key in self._s3.objects:
                raise refusal("PreconditionFailed", 412, "PutObject")
            if IfMatch is not None and etag(self._there(Key)) != IfMatch:
                raise refusal("PreconditionFailed", 412, "PutObject")
            self._write(Key, content)
            return {"ETag": etag(content)}

        answer: dict[str, str] = self._gate("put", Key, put)
        return answer

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        content = Path(path).read_bytes()
        self._gate("put", key, lambda: self._write(key, content))

    def download_file(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(self._gate("get", key, lambda: self._there(key, "404")))

    def delete_object(self, Bucket: str, Key: str) -> None:
        self._gate("delete", Key, lambda: self._s3.objects.pop(Key, None))

    def get_paginator(self, operation: str) -> FakeClient:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        found = self._gate("list", Prefix, lambda: sorted(key for key in self._s3.objects if key.startswith(Prefix)))
        written = datetime.now(UTC)
        told = [{"Key": key, "Size": len(self._s3.objects[key]), "LastModified": written} for key in found]
        yield {"Contents": told} if told else {}

    def _there(self, key: str, code: str = "NoSuchKey") -> bytes:
        if key not in self._s3.objects:
            raise refusal(code, 404, "GetObject")
        return self._s3.objects[key]

    def _write(self, key: str, content: bytes) -> None:
        self._s3.on_write(key, content)
        self._s3.objects[key] = content
