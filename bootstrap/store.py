"""The run's bucket, as the box uses it. Enters: file sets, statuses, events. Leaves: objects that are
either complete or invisible.

The commit protocol (docs/decisions/0001-commit-protocol.md):
a file set is uploaded under a name never used before; its manifest goes last, with `If-None-Match: *`;
`LATEST` is moved with `If-Match`, carries the epoch of the mover and names every committed checkpoint.
A box takes the run over by compare-and-swap on the lease and then re-stamps `LATEST`, so that an older
box still running can commit nothing: its next move of `LATEST` fails. Whatever is read back is verified
by SHA-256. Neither restore nor sync lists the history; a boot lists once, to clear uploads that never ended.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from bootstrap.snapshot import Snapshot, sha256_of
from contract.errors import StaleLease, StorageError
from contract.layout import RunLayout
from contract.status import Event, Latest, Lease, Manifest, Record, Status

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

UPLOADS_AT_ONCE = 8
MISSING = ("NoSuchKey", "404")
LOST_RACE = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")

R = TypeVar("R", bound=Record)


class Unreadable(StorageError):
    """An object is there but is not what it should be."""


class Missing(StorageError):
    """An object is not there."""


@contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """botocore's and boto3's errors as ours; a missing object apart from everything else."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            raise Missing(f"cannot {action}: it is not there") from error
        raise storage_error(action, error) from error
    except (BotoCoreError, Boto3Error, OSError) as error:
        raise storage_error(action, error) from error


def storage_error(action: str, error: Exception) -> StorageError:
    return StorageError(
        f"cannot {action}",
        why=str(error),
        mend="S3 must be reachable and the instance role complete (docs/permissions.md)",
    )


def _complete(keys: list[str]) -> bool:
    return any(key.endswith("/manifest.json") for key in keys)


class RunStore:
    def __init__(self, s3: S3Client, bucket: str, run: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self.layout = RunLayout(run)

    # --- the lease -------------------------------------------------------------------------------

    def take_lease(self, instance: str, now: datetime) -> Lease:
        """Become the run's owner: epoch + 1, by compare-and-swap; then fence older owners off `LATEST`."""
        while True:
            held, etag = self._read(self.layout.lease, Lease)
            mine = Lease(epoch=held.epoch + 1 if held else 1, instance=instance, time=now)
            if self._swap(self.layout.lease, mine, etag):
                break
        while True:
            latest, etag = self._read(self.layout.latest, Latest)
            committed = latest.checkpoints if latest else ()
            if self._swap(self.layout.latest, Latest(epoch=mine.epoch, checkpoints=committed), etag):
                return mine

    def assert_lease(self, lease: Lease) -> None:
        """Raises StaleLease when another instance has taken the run over."""
        held, _ = self._read(self.layout.lease, Lease)
        if held != lease:
            raise StaleLease(
                f"{lease.instance} no longer owns run {self.layout.run}",
                why=f"{held.instance if held else 'nobody'} has taken it over",
                mend="nothing: this instance commits nothing more",
            )

    # --- checkpoints -----------------------------------------------------------------------------

    def commit_checkpoint(self, files: Snapshot, step: int, lease: Lease, keep: int) -> Manifest:
        """Upload the set, then its manifest, then move `LATEST`; drop what falls out of the newest `keep`.

        Returns the manifest as read back from S3.

        Raises:
            StaleLease: another instance owns the run; nothing was committed.
            StorageError: S3 refused or a file changed while being read; nothing was committed.
        """
        self.assert_lease(lease)
        latest, _ = self._read(self.layout.latest, Latest)
        manifest = Manifest(
            id=f"{step:010d}-{time.time_ns():016x}{uuid.uuid4().hex[:8]}",
            step=step,
            parent=latest.checkpoints[0] if latest and latest.checkpoints else "",
            epoch=lease.epoch,
            instance=lease.instance,
            time=datetime.now(UTC),
            files=files.files,
        )
        self._upload(files, self.layout.checkpoint(manifest.id))
        key = self.layout.checkpoint_manifest(manifest.id)
        if not self._swap(key, manifest, None):
            raise StorageError(f"{key} exists already", mend="nothing: it is tried again under another name")
        dropped = self._move_latest(manifest.id, lease, keep)
        read_back, _ = self._read(key, Manifest)
        if read_back != manifest:
            raise StorageError(f"{key} reads back differently", mend="nothing: it is tried again")
        for checkpoint in dropped:
            self._drop_checkpoint(checkpoint)
        return manifest

    def _move_latest(self, checkpoint: str, lease: Lease, keep: int) -> tuple[str, ...]:
        """Name `checkpoint` in `LATEST` as the newest; returns the ids that are no longer kept."""
        while True:
            latest, etag = self._read(self.layout.latest, Latest)
            if latest is None or latest.epoch != lease.epoch:
                self.assert_lease(lease)
            before = latest.checkpoints if latest else ()
            if checkpoint in before:  # an earlier try got through but its answer was lost
                return ()
            named = (checkpoint, *before)
            if self._swap(self.layout.latest, Latest(epoch=lease.epoch, checkpoints=named[:keep]), etag):
                return named[keep:]

    def restore(self, into: Path) -> tuple[Manifest | None, list[str]]:
        """Bring the newest checkpoint that verifies into the directory `into`.

        Returns its manifest (None: there is none to restore, start from zero) and one sentence for
        every newer one that did not verify.

        Raises:
            StorageError: S3 cannot be read, or checkpoints exist and none verifies; starting from zero
                would then bury work, so the caller must not.
        """
        latest, _ = self._read(self.layout.latest, Latest)
        candidates = latest.checkpoints if latest else ()
        if not candidates:  # a first checkpoint whose box died before it could name it, or a lost LATEST
            complete = self._checkpoint_keys()
            candidates = tuple(sorted((name for name, keys in complete.items() if _complete(keys)), reverse=True))
        complaints: list[str] = []
        for checkpoint in candidates:
            try:
                manifest, _ = self._read(self.layout.checkpoint_manifest(checkpoint), Manifest)
                complaint = (
                    self._download(manifest, self.layout.checkpoint(checkpoint), into) if manifest else "no manifest"
                )
            except Unreadable as error:
                manifest, complaint = None, error.what
            if manifest and not complaint:
                return manifest, complaints
            complaints.append(f"checkpoint {checkpoint} does not verify: {complaint}")
        if complaints:
            raise StorageError(
                f"none of the {len(candidates)} checkpoints of run {self.layout.run} verifies",
                why="; ".join(complaints),
                mend="restore older versions of these objects (the bucket is versioned), or use a new run name",
            )
        return None, complaints

    def clear_unfinished(self) -> list[str]:
        """Delete what uploads that never ended have left; for the run's new owner, once a boot.

        A checkpoint is unfinished when `LATEST` names others and not it. Returns the ids deleted.
        """
        latest, _ = self._read(self.layout.latest, Latest)
        if latest is None or not latest.checkpoints:
            return []
        unfinished = [name for name in self._checkpoint_keys() if name not in latest.checkpoints]
        for checkpoint in unfinished:
            self._drop_checkpoint(checkpoint)
        return unfinished

    def _drop_checkpoint(self, checkpoint: str) -> None:
        """The manifest first: a reader then sees no checkpoint rather than a torn one."""
        self._delete(self.layout.checkpoint_manifest(checkpoint))
        for key in self._keys(self.layout.checkpoint(checkpoint)):
            self._delete(key)

    def _checkpoint_keys(self) -> dict[str, list[str]]:
        """Every checkpoint in the bucket, finished or not, with the keys of its objects."""
        found: dict[str, list[str]] = {}
        for key in self._keys(self.layout.checkpoints):
            found.setdefault(key.removeprefix(self.layout.checkpoints).split("/")[0], []).append(key)
        return found

    # --- status, events, logs, model ---------------------------------------------------------------

    def read_status(self) -> Status | None:
        return self._read(self.layout.status, Status)[0]

    def write_status(self, status: Status) -> None:
        self._put(self.layout.status, status)

    def add_event(self, event: Event) -> None:
        stamp = event.time.strftime("%Y%m%dT%H%M%S.%fZ")
        self._put(self.layout.event(stamp, uuid.uuid4().hex[:8]), event)

    def put_log(self, instance: str, stream: str, offset: int, chunk: bytes) -> None:
        key = self.layout.log_chunk(instance, stream, offset)
        with storage_errors(f"write s3://{self._bucket}/{key}"):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=chunk, ContentType="text/plain; charset=utf-8")

    def commit_model(self, files: Snapshot, step: int, lease: Lease) -> Manifest:
        """Upload the final artefacts, their manifest last, and verify by reading it back."""
        self.assert_lease(lease)
        manifest = Manifest(
            id="model",
            step=step,
            epoch=lease.epoch,
            instance=lease.instance,
            time=datetime.now(UTC),
            files=files.files,
        )
        self._upload(files, self.layout.model)
        self._put(self.layout.model_manifest, manifest)
        read_back, _ = self._read(self.layout.model_manifest, Manifest)
        if read_back != manifest:
            raise StorageError(
                f"{self.layout.model_manifest} reads back differently", mend="nothing: it is tried again"
            )
        return manifest

    # --- objects -----------------------------------------------------------------------------------

    def _upload(self, files: Snapshot, prefix: str) -> None:
        def upload(name: str) -> None:
            with storage_errors(f"write s3://{self._bucket}/{prefix}{name}"):
                self._s3.upload_file(str(files.directory / name), self._bucket, prefix + name)

        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
            list(pool.map(upload, (file.name for file in files.files)))
        if not files.unchanged():
            raise StorageError("a file changed while it was being uploaded", mend="nothing: it is tried again")

    def _download(self, manifest: Manifest, prefix: str, into: Path) -> str:
        """Fetch and verify the set, then move it in place; returns what does not verify, or nothing."""
        staging = into / f".restoring-{uuid.uuid4().hex[:8]}"
        try:
            for file in manifest.files:
                target = staging / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with storage_errors(f"read s3://{self._bucket}/{prefix}{file.name}"):
                        self._s3.download_file(self._bucket, prefix + file.name, str(target))
                except Missing:
                    return f"{file.name} is missing"
                if target.stat().st_size != file.size or sha256_of(target) != file.sha256:
                    return f"{file.name} has another content than its manifest says"
            for file in manifest.files:
                place = into / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                (staging / file.name).replace(place)
            return ""
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _read(self, key: str, kind: type[R]) -> tuple[R | None, str | None]:
        """The record at `key` and its ETag; (None, None) where there is none."""
        try:
            with storage_errors(f"read s3://{self._bucket}/{key}"):
                answer = self._s3.get_object(Bucket=self._bucket, Key=key)
                body = answer["Body"].read()
        except Missing:
            return None, None
        try:
            return kind.model_validate_json(body), answer["ETag"]
        except ValidationError as error:
            raise Unreadable(
                f"s3://{self._bucket}/{key} is not a {kind.__name__.lower()}",
                why=str(error),
                mend="restore an older version of the object (the bucket is versioned)",
            ) from error

    def _put(self, key: str, record: Record) -> None:
        with storage_errors(f"write s3://{self._bucket}/{key}"):
            self._s3.put_object(
                Bucket=self._bucket, Key=key, Body=record.model_dump_json().encode(), ContentType="application/json"
            )

    def _swap(self, key: str, record: Record, etag: str | None) -> bool:
        """Compare-and-swap: write over the version `etag`, or where there is nothing when it is None."""
        body = record.model_dump_json().encode()
        try:
            if etag is None:
                self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            else:
                self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, IfMatch=etag)
        except ClientError as error:
            if error.response["Error"]["Code"] in LOST_RACE:
                return False
            raise storage_error(f"write s3://{self._bucket}/{key}", error) from error
        except BotoCoreError as error:
            raise storage_error(f"write s3://{self._bucket}/{key}", error) from error
        return True

    def _keys(self, prefix: str) -> list[str]:
        with storage_errors(f"list s3://{self._bucket}/{prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def _delete(self, key: str) -> None:
        with storage_errors(f"delete s3://{self._bucket}/{key}"):
            self._s3.delete_object(Bucket=self._bucket, Key=key)
