"""A directory's files as one consistent set. Enters: a directory that a trainer may be writing to.
Leaves: hard links that no longer change under the reader, with sizes and, as soon as they were read, SHA-256.

Files whose name begins with a dot or ends in `.tmp` or `.part` are taken for half-written and left out.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contract.errors import StorageError
from contract.failpoints import reach
from contract.status import ManifestFile

UNFINISHED = re.compile(r"^\.|\.(tmp|part)$")
NO_LINKS = (errno.ENOSPC, errno.EDQUOT, errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)

Fingerprint = tuple[tuple[str, int, int], ...]
"""(name, size in bytes, mtime in ns) of every file, sorted: equal means nothing new."""


class Moved(StorageError):
    """Something changed while it was being read or written; the next try finds the new one."""

    def __init__(self, what: str) -> None:
        super().__init__(what, mend="nothing: it is tried again")


@dataclass(frozen=True)
class Snapshot:
    directory: Path
    """Where the hard links are."""
    fingerprint: Fingerprint
    _hashing: Future[tuple[tuple[str, ...], float]]

    @property
    def listed(self) -> tuple[ManifestFile, ...]:
        """Names and sizes; what is in the files is not known yet."""
        return tuple(ManifestFile(name=name, size=size, sha256="") for name, size, _ in self.fingerprint)

    @property
    def files(self) -> tuple[ManifestFile, ...]:
        """The same with their SHA-256; waits until they were read. Raises Moved when one went away meanwhile."""
        hashes, _ = self._hashing.result()
        return tuple(file.model_copy(update={"sha256": one}) for file, one in zip(self.listed, hashes, strict=True))

    @property
    def read_seconds(self) -> float:
        """What reading and hashing them took; waits as `files` does."""
        return self._hashing.result()[1]

    def unchanged(self) -> bool:
        """False when a writer has written into one of the files since they were linked."""
        return fingerprint_of(self.directory) == self.fingerprint


def fingerprint_of(directory: Path) -> Fingerprint:
    """What is in `directory` now; files that vanish while looking are not in it."""
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not UNFINISHED.search(name)]
        for name in names:
            path = Path(folder, name)
            if UNFINISHED.search(name) or path.is_symlink():
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found.append((path.relative_to(directory).as_posix(), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def step_of(fingerprint: Fingerprint) -> int:
    """The step of a checkpoint set: the last number in the name of its newest file, or 0 where there is none.

    `step-00000120.ckpt`, `checkpoint-500/model.safetensors`, `epoch=3-step=500.ckpt` all say theirs.
    """
    if not fingerprint:
        return 0
    newest = max(fingerprint, key=lambda file: (file[2], file[0]))[0]
    for part in reversed(newest.split("/")):
        numbers = re.findall(r"\d+", part)
        if numbers:
            return int(numbers[-1])
    return 0


def flush_seconds(directory: Path, fingerprint: Fingerprint) -> float:
    """How long the newest file took from its last write to its rename: what flushing it to the disk took.

    The inode changes (ctime) with the rename, and again when a hard link is made: ask before a snapshot.
    """
    try:
        newest = directory / max(fingerprint, key=lambda file: (file[2], file[0]))[0]
        stat = newest.stat()
    except (ValueError, FileNotFoundError):
        return 0.0
    return max(0.0, (stat.st_ctime_ns - stat.st_mtime_ns) / 1e9)


@contextmanager
def snapshot(directory: Path, staging: Path) -> Iterator[Snapshot]:
    """Link every finished file of `directory` below `staging`; the links are removed afterwards.

    They are hashed in a thread, beside whatever is done with them: a processor without SHA instructions takes as long
    for that as a fast network for sending. Where the disk takes no links (it is full, or another one) the files
    themselves are read. `unchanged`, asked after both, tells whether the trainer has touched them.

    Raises:
        Moved: a file went away meanwhile; take the snapshot again later.
    """
    target = staging / uuid.uuid4().hex
    hashing = ThreadPoolExecutor(1, thread_name_prefix="hash")
    try:
        fingerprint = fingerprint_of(directory)
        where = target if _link(directory, fingerprint, target) else directory
        yield Snapshot(where, fingerprint, hashing.submit(_hashes, where, fingerprint))
    finally:
        hashing.shutdown(wait=False)
        shutil.rmtree(target, ignore_errors=True)


def _link(directory: Path, fingerprint: Fingerprint, target: Path) -> bool:
    reach("snapshot.link.before")
    for name, _, _ in fingerprint:
        link = target / name
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(directory / name, link)
        except FileNotFoundError:
            raise Moved(f"{name} went away while it was being read") from None
        except OSError as error:
            if error.errno in NO_LINKS:
                return False
            raise
    reach("snapshot.link.after")
    return True


def _hashes(directory: Path, fingerprint: Fingerprint) -> tuple[tuple[str, ...], float]:
    """Of every file, and how many seconds that took."""
    began = time.monotonic()
    try:
        return tuple(sha256_of(directory / name) for name, _, _ in fingerprint), time.monotonic() - began
    except FileNotFoundError as error:
        raise Moved(f"{error.filename} went away while it was being read") from None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
