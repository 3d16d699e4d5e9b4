"""Checkpoints in the run's bucket. Enters: sets of files. Leaves: committed ones, and the newest whole one back."""

from __future__ import annotations

import logging
import math
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from bootstrap.lease import Leased
from bootstrap.objects import PART_BYTES, Missing, Unreadable, disk_errors
from bootstrap.packs import objects, packed
from bootstrap.snapshot import Moved, Snapshot, sha256_of
from contract.errors import StorageError
from contract.failpoints import reach
from contract.status import Latest, Lease, Manifest, ManifestFile

log = logging.getLogger(__name__)
T = TypeVar("T")


class Checkpoints(Leased):
    def commit_checkpoint(
        self, files: Snapshot, step: int, lease: Lease, keep: int, metric: float | None = None
    ) -> Manifest:
        """Upload the set, then its manifest, then move `LATEST`; drop what is no longer kept.

        Kept are the newest `keep` and the one with the lowest metric. A set that is the newest already, because
        an earlier try got through and its answer was lost, is not committed again.

        Returns the manifest as read back from S3.

        Raises:
            StaleLease: another instance owns the run; nothing was committed.
            StorageError: S3 refused or a file changed while being read.
        """
        self.assert_lease(lease)
        latest, _ = self._objects.read(self.layout.latest, Latest)
        parent = latest.checkpoints[0] if latest and latest.checkpoints else ""
        newest = self._manifest_or_none(parent)
        if newest and newest.step == step and newest.files == packed(files.files):
            return newest
        id_, began = f"{step:010d}-{time.time_ns():016x}{uuid.uuid4().hex[:8]}", datetime.now(UTC)
        manifest = Manifest(
            id=id_,
            step=step,
            parent=parent,
            epoch=lease.epoch,
            instance=lease.instance,
            time=began,
            files=self._upload(files, self.layout.checkpoint(id_)),
            metric=metric if metric is not None and math.isfinite(metric) else None,
        )
        key = self.layout.checkpoint_manifest(manifest.id)
        reach("manifest.before")
        if not self._objects.swap(key, manifest, None) and self._objects.read(key, Manifest)[0] != manifest:
            raise Moved(f"{key} exists already")
        reach("manifest.after")
        self._undropped |= self._move_latest(manifest, lease, keep)
        read_back, _ = self._objects.read(key, Manifest)
        if read_back != manifest:
            raise Moved(f"{key} reads back differently")
        self._drop(self._undropped)
        return manifest

    def _move_latest(self, manifest: Manifest, lease: Lease, keep: int) -> set[str]:
        """Name the checkpoint in `LATEST` as the newest; returns the ids that are no longer kept."""
        dropped: set[str] = set()
        while True:
            latest, etag = self._objects.read(self.layout.latest, Latest)
            if latest is None or latest.epoch != lease.epoch:
                self.assert_lease(lease)
            before = latest or Latest(epoch=lease.epoch)
            if manifest.id in before.checkpoints:  # an earlier try got through but its answer was lost
                return dropped - set(before.kept)
            better = manifest.metric is not None and (
                before.best_metric is None or manifest.metric < before.best_metric
            )
            after = Latest(
                epoch=lease.epoch,
                checkpoints=(manifest.id, *before.checkpoints)[:keep],
                best=manifest.id if better else before.best,
                best_metric=manifest.metric if better else before.best_metric,
            )
            dropped |= set(before.kept) - set(after.kept)
            reach("latest.before")
            if self._objects.swap(self.layout.latest, after, etag):
                reach("latest.after")
                return dropped

    def restore(self, into: Path) -> tuple[Manifest | None, list[str]]:
        """Bring the newest checkpoint that verifies into the directory `into`.

        Returns its manifest (None: there is none to restore, start from zero) and one sentence for
        every newer one that did not verify.

        Raises:
            StorageError: S3 cannot be read, or checkpoints exist and none verifies; starting from zero
                would then bury work, so the caller must not.
        """
        latest, _ = self._objects.read(self.layout.latest, Latest)
        candidates = self._candidates(latest)
        complaints: list[str] = []
        for checkpoint in candidates:
            try:
                manifest, _ = self._objects.read(self.layout.checkpoint_manifest(checkpoint), Manifest)
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

    def settle(self, checkpoint: str, lease: Lease) -> None:
        """After a restore from `checkpoint`: `LATEST` names it as the newest.

        Those before it did not verify; a damaged one would take a place among the newest and push out one that
        is whole. And one that was found although no `LATEST` named it is named from now on.
        """
        while True:
            latest, etag = self._objects.read(self.layout.latest, Latest)
            if latest is None or latest.epoch != lease.epoch:
                self.assert_lease(lease)
            before = latest or Latest(epoch=lease.epoch)
            names = self._candidates(before)
            if checkpoint not in names or before.kept[:1] == (checkpoint,):
                return
            damaged = names[: names.index(checkpoint)]
            whole = tuple(name for name in before.checkpoints or names if name not in damaged) or (checkpoint,)
            after = Latest(epoch=lease.epoch, checkpoints=whole)
            if before.best not in damaged:
                after = after.model_copy(update={"best": before.best, "best_metric": before.best_metric})
            reach("settle.before")
            if self._objects.swap(self.layout.latest, after, etag):
                return reach("settle.after")

    def clear_unfinished(self, lease: Lease) -> list[str]:
        """Delete what uploads that never ended have left; for the run's new owner, once a boot.

        A checkpoint is unfinished when `LATEST` names others and not it. Returns the ids deleted.

        Raises:
            StaleLease: another instance owns the run; nothing was deleted.
        """
        found = self._checkpoint_keys()
        self.assert_lease(lease)  # after the listing: whatever is in it, no later owner has begun to upload
        latest, _ = self._objects.read(self.layout.latest, Latest)
        if latest is None or not latest.kept:
            return []
        unfinished = [name for name in found if name not in latest.kept]
        self._undropped |= set(unfinished)
        self._drop(self._undropped)
        return unfinished

    def _drop(self, checkpoints: set[str]) -> None:
        """The manifest first: a reader then sees no checkpoint rather than a torn one.

        Takes from `checkpoints` what is gone. The next commit tries the rest again, or else the next boot clears it.
        """
        try:
            for checkpoint in sorted(checkpoints):
                reach("drop.before")
                self._objects.delete(self.layout.checkpoint_manifest(checkpoint))
                reach("drop.after")
                for key in self._objects.keys(self.layout.checkpoint(checkpoint)):
                    self._objects.delete(key)
                checkpoints.discard(checkpoint)
        except StorageError as error:
            log.warning("an old checkpoint is left for now: %s", error)

    def _candidates(self, latest: Latest | None) -> tuple[str, ...]:
        """What can be restored, in the order in which it is tried."""
        if latest and latest.kept:
            return latest.kept
        # a first checkpoint whose box died before it could name it, or a lost LATEST
        complete = (name for name, keys in self._checkpoint_keys().items() if _complete(keys))
        return tuple(sorted(complete, reverse=True))

    def _manifest_or_none(self, checkpoint: str) -> Manifest | None:
        try:
            return self._objects.read(self.layout.checkpoint_manifest(checkpoint), Manifest)[0] if checkpoint else None
        except Unreadable:
            return None

    def _checkpoint_keys(self) -> dict[str, list[str]]:
        """Every checkpoint in the bucket, finished or not, with the keys of its objects."""
        found: dict[str, list[str]] = {}
        for key in self._objects.keys(self.layout.checkpoints):
            found.setdefault(key.removeprefix(self.layout.checkpoints).split("/")[0], []).append(key)
        return found

    def _upload(self, files: Snapshot, prefix: str) -> tuple[ManifestFile, ...]:
        """Returns every file with its place and its SHA-256, which is found out meanwhile."""

        def put(name: str, held: list[ManifestFile]) -> None:
            if held[0].pack:
                self._objects.put_bytes(prefix + name, _joined(files.directory, held))
            else:
                self._objects.upload(files.directory / name, prefix + name)

        reach("upload.before")
        self._each(objects(packed(files.listed)), put)
        placed = packed(files.files)
        reach("upload.after")
        if not files.unchanged():
            raise Moved("a file changed while it was being uploaded")
        return placed

    def _download(self, manifest: Manifest, prefix: str, into: Path) -> str:
        """Fetch and verify the set, then move it in place; returns what does not verify, or nothing."""
        staging = into / f".restoring-{uuid.uuid4().hex[:8]}"

        def get(name: str, held: list[ManifestFile]) -> str:
            try:
                if held[0].pack:
                    content = self._objects.get_bytes(prefix + name)
                    with disk_errors("write a checkpoint"):
                        for file in held:
                            (staging / file.name).write_bytes(content[file.offset : file.offset + file.size])
                else:
                    self._objects.download(prefix + name, staging / name, held[0].size)
            except Missing:
                return f"{held[0].name} is missing"
            damaged = (file for file in held if not _is_whole(staging / file.name, file))
            return next((f"{file.name} has another content than its manifest says" for file in damaged), "")

        try:
            for folder in {(staging / file.name).parent for file in manifest.files}:
                folder.mkdir(parents=True, exist_ok=True)
            complaints = self._each(objects(manifest.files), get)
            if any(complaints):
                return next(filter(None, complaints))
            reach("restore.place.before")
            for file in manifest.files:
                place = into / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                (staging / file.name).replace(place)
            reach("restore.place.after")
            return ""
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _each(self, parts: dict[str, list[ManifestFile]], do: Callable[[str, list[ManifestFile]], T]) -> list[T]:
        """`do` for every object: large ones in turn, as each goes in parts side by side; meanwhile the others."""
        large = [name for name, held in parts.items() if sum(file.size for file in held) > PART_BYTES]
        pool = ThreadPoolExecutor(self._at_once)
        try:
            others = [pool.submit(do, name, held) for name, held in parts.items() if name not in large]
            return [do(name, parts[name]) for name in large] + [other.result() for other in others]
        finally:
            pool.shutdown(cancel_futures=True)


def _joined(directory: Path, files: list[ManifestFile]) -> bytearray:
    """One behind the other, each read to where it belongs. Raises Moved when one is shorter now."""
    content = bytearray(sum(file.size for file in files))
    view = memoryview(content)
    for file in files:
        with (directory / file.name).open("rb") as source:
            if source.readinto(view[file.offset : file.offset + file.size]) < file.size:
                raise Moved(f"{file.name} became shorter while it was being read")
    return content


def _is_whole(path: Path, file: ManifestFile) -> bool:
    return path.stat().st_size == file.size and sha256_of(path) == file.sha256


def _complete(keys: list[str]) -> bool:
    return any(key.endswith("/manifest.json") for key in keys)
