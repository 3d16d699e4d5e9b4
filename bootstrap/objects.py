"""Objects of one bucket. Enters: keys, records, files. Leaves: objects, or errors of our own tree.

Writing is either plain, or conditional on the version that was read before (compare-and-swap).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from contract.errors import StorageError
from contract.status import Record

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

MISSING = ("NoSuchKey", "404")
LOST_RACE = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
REFUSED = ("AccessDenied", "403", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled")
LARGEST_PUT_BYTES = 5 << 30
PART_BYTES = 8 << 20
"""What boto3 sends at once; a file below it needs no threads of boto3's own."""

R = TypeVar("R", bound=Record)


class Unreadable(StorageError):
    """An object is there but is not what it should be."""


class Missing(StorageError):
    """An object is not there."""


class Unreachable(StorageError):
    """S3 did not answer, or not now: throttled, in trouble, a token run out. Later it may."""


@contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """botocore's and boto3's errors as ours; a missing object apart from everything else."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in MISSING:
            raise Missing(f"cannot {action}: it is not there") from error
        raise _as_ours(StorageError if code in REFUSED else Unreachable, action, error) from error
    except (BotoCoreError, Boto3Error, ConnectionError, TimeoutError) as error:
        raise _as_ours(Unreachable, action, error) from error
    except OSError as error:
        raise StorageError(f"cannot {action}", why=str(error), mend=DISK) from error


DISK = "free space on the box, or give it more with machine.volume_gb"


@contextmanager
def disk_errors(action: str) -> Iterator[None]:
    """What the box's own disk refuses, as ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {action} on the box's disk", why=str(error), mend=DISK) from error


def _as_ours(kind: type[StorageError], action: str, error: Exception) -> StorageError:
    mend = "S3 must be reachable and the instance role complete (docs/permissions.md)"
    return kind(f"cannot {action}", why=str(error), mend=mend)


class Objects:
    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def read(self, key: str, kind: type[R]) -> tuple[R | None, str | None]:
        """The record at `key` and its ETag; (None, None) where there is none."""
        try:
            with storage_errors(f"read {self._uri(key)}"):
                answer = self._s3.get_object(Bucket=self._bucket, Key=key)
                body = answer["Body"].read()
        except Missing:
            return None, None
        try:
            return kind.model_validate_json(body), answer["ETag"]
        except ValidationError as error:
            raise Unreadable(
                f"{self._uri(key)} is not a {kind.__name__.lower()}",
                why=str(error),
                mend="restore an older version of the object (the bucket is versioned)",
            ) from error

    def etag(self, key: str) -> str | None:
        """Of the version that is there now; None where there is none."""
        try:
            with storage_errors(f"read {self._uri(key)}"):
                return self._s3.head_object(Bucket=self._bucket, Key=key)["ETag"]
        except Missing:
            return None

    def put(self, key: str, record: Record) -> None:
        with storage_errors(f"write {self._uri(key)}"):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=_body(record), ContentType="application/json")

    def put_text(self, key: str, text: bytes, kind: str = "plain") -> None:
        with storage_errors(f"write {self._uri(key)}"):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=text, ContentType=f"text/{kind}; charset=utf-8")

    def put_bytes(self, key: str, content: bytes | bytearray) -> None:
        with storage_errors(f"write {self._uri(key)}"):
            body = cast("bytes", content)  # botocore takes both, its stubs do not
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body)

    def swap(self, key: str, record: Record, etag: str | None) -> str:
        """Compare-and-swap: write over the version `etag`, or where there is nothing when it is None.

        Returns the new version's ETag. Empty: another version is there. It may be ours, when an answer was lost and
        the request repeated.
        """
        with storage_errors(f"write {self._uri(key)}"):
            return self._unless_lost(key, _body(record), etag)

    def swap_file(self, key: str, path: Path, etag: str | None) -> bool:
        """The same with a file; True where it was written."""
        with storage_errors(f"write {self._uri(key)}"):
            if path.stat().st_size > LARGEST_PUT_BYTES:  # goes in parts, and those boto3 sends unconditionally
                self._s3.upload_file(str(path), self._bucket, key)
                return True
            return bool(self._unless_lost(key, path, etag))

    def _unless_lost(self, key: str, what: bytes | Path, etag: str | None) -> str:
        body = what if isinstance(what, bytes) else what.open("rb")
        try:
            if etag is None:
                return self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")["ETag"]
            return self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, IfMatch=etag)["ETag"]
        except ClientError as error:
            # 404: there was a version and it has been deleted since
            if error.response["Error"]["Code"] in (*LOST_RACE, *MISSING):
                return ""
            raise
        finally:
            if not isinstance(body, bytes):
                body.close()

    def upload(self, path: Path, key: str) -> None:
        """In parts, several at a time, where it is large."""
        with storage_errors(f"write {self._uri(key)}"):
            if path.stat().st_size > PART_BYTES:
                self._s3.upload_file(str(path), self._bucket, key)
                return
            with path.open("rb") as file:
                self._s3.put_object(Bucket=self._bucket, Key=key, Body=file)

    def get_bytes(self, key: str) -> bytes:
        with storage_errors(f"read {self._uri(key)}"):
            return self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def download(self, key: str, path: Path, size: int) -> None:
        """`size` is what it should have, in bytes; in parts where it is large, as with `upload`."""
        if size <= PART_BYTES:
            content = self.get_bytes(key)
            with disk_errors("write a checkpoint"):
                path.write_bytes(content)
            return
        with storage_errors(f"read {self._uri(key)}"):
            self._s3.download_file(self._bucket, key, str(path))

    def keys(self, prefix: str) -> list[str]:
        return [found["Key"] for found in self.listed(prefix)]

    def listed(self, prefix: str) -> list[ObjectTypeDef]:
        """As S3 tells it: `Key`, `Size` in bytes, `LastModified`."""
        with storage_errors(f"list {self._uri(prefix)}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [found for page in pages for found in page.get("Contents", [])]

    def delete(self, key: str) -> None:
        with storage_errors(f"delete {self._uri(key)}"):
            self._s3.delete_object(Bucket=self._bucket, Key=key)

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


def _body(record: Record) -> bytes:
    return record.model_dump_json().encode()
