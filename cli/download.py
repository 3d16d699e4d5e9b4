"""Objects of a bucket as files. Enters: keys, hashes. Leaves: files that are whole and verify, or none."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from pydantic import BaseModel
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from cli.refusal import code_of, refused
from contract.errors import StorageError
from contract.status import Manifest, ManifestFile

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.client import S3Client
    from rich.console import Console

MISSING = ("404", "NoSuchKey")
SHORTER = "InvalidRange"
"""The object ends before the range that was asked for begins."""
CUT_SHORT = (ResponseStreamingError, IncompleteReadError, ReadTimeoutError, ConnectionError)
"""What botocore does not repeat: an answer that began and did not end."""
AGAIN = Retrying(
    retry=retry_if_exception_type(CUT_SHORT), stop=stop_after_attempt(5), wait=wait_exponential(), reraise=True
)
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
"""Of one large file. Those under way when it is cut short are fetched again."""
CHUNK_BYTES = 1 << 18
"""Read at a time. Of memory for a whole part the system clears every page anew: a fetch took 1.5 times as long."""
REQUESTS_AT_ONCE = 8
"""For small objects."""
BATCH_BYTES = 1 << 17
"""Small files of an object that are made together. Cut short, those that have come but are not made are lost."""
MAKING = threading.Lock()
"""Many small files are made by one thread at a time: several take more than twice as long, waiting for one another."""
UNFINISHED = uuid.uuid4().hex[:8]
"""How the names of files end that this process has not made whole yet."""
Advance = Callable[[int], None]
"""Told of every byte that is here."""


class Digest(Protocol):
    """hashlib's, of one algorithm."""

    def update(self, content: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class DoesNotVerify(StorageError):
    """What S3 holds is not what its manifest says; asking again changes nothing."""


@dataclass(frozen=True)
class Item:
    """One file of a set that has a manifest."""

    key: str
    """Of the object in which it lies, alone or among others."""
    place: Path
    file: ManifestFile

    @property
    def is_large(self) -> bool:
        return not self.file.pack and self.file.size > PART_BYTES


class FetchedSet(BaseModel):
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
    beside = name not in ("", "..") and place.parent == folder and not place.is_symlink()
    if not beside and (not name or not place.resolve().is_relative_to(folder.resolve())):  # which takes long
        raise StorageError(f"{name!r} would be written outside {folder}", mend="do not trust this bucket")
    return place


@contextmanager
def whole(place: Path, *, flush: bool = True) -> Iterator[Path]:
    """A temporary name to write to; it becomes `place` when all went well, and is gone otherwise.

    Without `flush` a machine that loses its power may lose it, until `os.sync` is called.
    """
    temporary = place.with_name(f".{place.name}.{UNFINISHED}")
    with _disk(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if flush:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _disk(place: Path) -> Iterator[None]:
    """What the disk refuses as an error of ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{place} cannot be written", why=str(error), mend="make room, or choose --to") from error


def download(s3: S3Client, bucket: str, items: Iterable[Item], advance: Advance) -> None:
    """Bring a set of files here; one that is here already and verifies is not fetched again.

    They are not flushed to the disk: whoever deletes them elsewhere calls `os.sync` before.

    Raises:
        DoesNotVerify: S3 has no such object, or another content than the manifest says, asked twice.
        StorageError: S3 refuses, or a file cannot be written.
    """
    by_object: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_object[item.key].append(item)
    large = [held for held in by_object.values() if held[0].is_large]
    pool = ThreadPoolExecutor(REQUESTS_AT_ONCE)
    try:
        others = [
            pool.submit(_download, s3, bucket, held, advance) for held in by_object.values() if not held[0].is_large
        ]
        for held in large:  # one after the other, for each comes in parts side by side
            _download(s3, bucket, held, advance)
        for other in others:
            other.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _download(s3: S3Client, bucket: str, items: list[Item], advance: Advance) -> None:
    """The files of one object."""
    missing = [item for item in items if not _is_here(item)]
    advance(sum(item.file.size for item in items) - sum(item.file.size for item in missing))
    if not missing:
        return
    for folder in {item.place.parent for item in missing}:
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
    source = _Source(s3, bucket, missing[0])
    fetch = _in_parts if missing[0].is_large else _at_once
    try:
        fetch(source, missing, advance)
    except DoesNotVerify:
        fetch(source, missing, lambda _: None)


def _is_here(item: Item) -> bool:
    return item.place.is_file() and sha256_of(item.place) == item.file.sha256


@dataclass(frozen=True)
class _Source:
    """One object."""

    s3: S3Client
    bucket: str
    item: Item
    """A file in it."""

    def open(self, begin: int, end: int) -> StreamingBody:
        """Its bytes from `begin` up to but not including `end`; fewer where it is shorter."""
        name = self.item.file.name
        try:
            with refused(f"{name} cannot be fetched", StorageError):
                answer = self.s3.get_object(Bucket=self.bucket, Key=self.item.key, Range=f"bytes={begin}-{end - 1}")
                return answer["Body"]
        except StorageError as error:
            code = code_of(error.__cause__)
            if code in MISSING:
                raise DoesNotVerify(f"{name} does not verify", why=f"{self.item.key} is not in the bucket") from error
            if code == SHORTER:
                raise DoesNotVerify(f"{name} does not verify", why=f"{self.item.key} is too short") from error
            raise

    def read(self, begin: int, end: int) -> list[bytes]:
        return AGAIN(lambda: list(self.open(begin, end).iter_chunks(CHUNK_BYTES)))


def _at_once(source: _Source, items: Sequence[Item], advance: Advance) -> None:
    """A small object, or the part of a pack in which the missing files lie; they are here soon after they have come."""
    left = deque(sorted(items, key=lambda item: item.file.offset))

    def fetch() -> None:
        position, end = left[0].file.offset, left[-1].file.offset + left[-1].file.size
        body = source.open(position, end) if end > position else None
        while left:
            batch = _batch(left)
            contents = []
            for item in batch:
                own = b""
                if body and item.file.size:
                    body.read(item.file.offset - position)
                    own = body.read(item.file.size)
                    position = item.file.offset + item.file.size
                contents.append(own)
            with MAKING if len(batch) > 1 else nullcontext():
                for item, own in zip(batch, contents, strict=True):
                    _make(item, own)
                    advance(item.file.size)
                    left.popleft()

    AGAIN(fetch)


def _batch(items: Iterable[Item]) -> list[Item]:
    """The first ones, `BATCH_BYTES` together, and one at the least."""
    batch: list[Item] = []
    size = 0
    for item in items:
        size += item.file.size
        if batch and size > BATCH_BYTES:
            break
        batch.append(item)
    return batch


def _make(item: Item, content: bytes) -> None:
    """As `whole` does, in a folder that is there; without `Path`, which takes a third of the time for thousands."""
    _refuse_unless(hashlib.sha256(content).hexdigest() == item.file.sha256, item)
    folder, name = os.path.split(item.place)
    temporary = f"{folder}/.{name}.{UNFINISHED}"
    with _disk(item.place):
        try:
            with open(temporary, "wb") as file:  # noqa: PTH123
                file.write(content)
            os.replace(temporary, item.place)  # noqa: PTH105
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _in_parts(source: _Source, items: Sequence[Item], advance: Advance) -> None:
    """A large file, several parts at a time, appended and hashed in their order by a thread each.

    Cut short, it goes on from where it ended.
    """
    (item,) = items
    size, place = item.file.size, item.place
    partial = place.with_name(f".{place.name}.{item.file.sha256[:16]}.part")
    with _disk(place), partial.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"{place} is being fetched already", mend="wait for the other command") from None
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
        advance(have := min(file.tell(), size))
        fetching, hashing = ThreadPoolExecutor(PARTS_AT_ONCE), ThreadPoolExecutor(1)
        parts: deque[Future[list[bytes]]] = deque()
        hashed: deque[Future[None]] = deque()

        def append(chunks: list[bytes]) -> None:
            hashed.append(hashing.submit(_hash, chunks, digest))
            for chunk in chunks:
                file.write(chunk)
                advance(len(chunk))
            if len(hashed) == PARTS_AT_ONCE:  # which are in memory until then
                hashed.popleft().result()

        try:
            for begin in range(have, size, PART_BYTES):
                parts.append(fetching.submit(source.read, begin, min(begin + PART_BYTES, size)))
                if len(parts) == PARTS_AT_ONCE:
                    append(parts.popleft().result())
            for part in parts:
                append(part.result())
            for one in hashed:
                one.result()
        finally:
            for pool in (fetching, hashing):
                pool.shutdown(cancel_futures=True)
        file.flush()
        if digest.hexdigest() == item.file.sha256:
            partial.replace(place)
        else:
            partial.unlink()
    _refuse_unless(digest.hexdigest() == item.file.sha256, item)


def _hash(chunks: Iterable[bytes], digest: Digest) -> None:
    for chunk in chunks:
        digest.update(chunk)


def _refuse_unless(held: bool, item: Item) -> None:
    if not held:
        raise DoesNotVerify(f"{item.file.name} does not verify", why="its SHA-256 is not the one in the manifest")


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
def bar(console: Console | None, what: str, total: int) -> Iterator[Advance]:
    """A progress bar over `total` bytes; nothing without a console, or where it is no terminal."""
    if console is None or not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(f"  {what}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
