"""Objects of a bucket as files. Enters: keys, hashes. Leaves: files that are whole and verify, or none."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.refusal import code_of, refused
from cli.schemas import Printed
from contract.errors import StorageError
from contract.status import Manifest, ManifestFile

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MISSING = ("404", "NoSuchKey")
Advance = Callable[[int], None]
"""Told of every byte that is here."""


class DoesNotVerify(StorageError):
    """What S3 holds is not what its manifest says; asking again changes nothing."""


@dataclass(frozen=True)
class Item:
    """One file of a set that has a manifest."""

    key: str
    place: Path
    file: ManifestFile


class FetchedSet(Printed):
    """A model or a checkpoint that is here; every file of it was verified by its SHA-256."""

    folder: str
    step: int
    files: int
    bytes: int

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> FetchedSet:
        size = sum(file.size for file in manifest.files)
        return cls(folder=str(folder), step=manifest.step, files=len(manifest.files), bytes=size)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, name: str) -> Path:
    """The place of `name` below `folder`.

    Raises:
        StorageError: the name leads out of it.
    """
    place = folder / name
    if not name or not place.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{name!r} would be written outside {folder}", mend="do not trust this bucket")
    return place


@contextmanager
def whole(place: Path) -> Iterator[Path]:
    """A temporary name to write to; it becomes `place` when all went well, and is gone otherwise."""
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{place} cannot be written", why=str(error), mend="make room, or choose --to") from error


def download(s3: S3Client, bucket: str, item: Item, advance: Advance) -> None:
    """Bring one file here; one that is here already and verifies is not fetched again.

    Raises:
        DoesNotVerify: S3 has no such object, or another content than the manifest says, asked twice.
        StorageError: S3 refuses, or the file cannot be written.
    """
    if item.place.is_file() and sha256_of(item.place) == item.file.sha256:
        advance(item.file.size)
        return
    try:
        _download(s3, bucket, item, advance)
    except DoesNotVerify:
        _download(s3, bucket, item, lambda _: None)


def _download(s3: S3Client, bucket: str, item: Item, advance: Advance) -> None:
    name = item.file.name
    with whole(item.place) as temporary:
        try:
            with refused(f"{name} cannot be fetched", StorageError):
                s3.download_file(bucket, item.key, str(temporary), Callback=advance)
        except StorageError as error:
            if code_of(error.__cause__) in MISSING:
                raise DoesNotVerify(f"{name} does not verify", why=f"{item.key} is not in the bucket") from error
            raise
        if sha256_of(temporary) != item.file.sha256:
            raise DoesNotVerify(f"{name} does not verify", why="its SHA-256 is not the one in the manifest")


def verify(folder: Path, manifest: Manifest) -> None:
    """Read every file of the set from this disk once more.

    Raises:
        StorageError: one is missing or is not what the manifest says.
    """
    for file in manifest.files:
        place = inside(folder, file.name)
        if not place.is_file() or sha256_of(place) != file.sha256:
            raise StorageError(f"{place} does not verify", mend="the disk or another program changed it: fetch again")


@contextmanager
def bar(console: Console, what: str, total: int) -> Iterator[Advance]:
    """A progress bar over `total` bytes; nothing where the console is no terminal."""
    columns = (TextColumn(f"  {what}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
