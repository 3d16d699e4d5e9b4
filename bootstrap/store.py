"""The run's bucket, as the box uses it. Enters: file sets, statuses, events. Leaves: objects that are
either complete or invisible.

The commit protocol (docs/decisions/0001-commit-protocol.md):
a file set is uploaded under a name never used before; its manifest goes last, with `If-None-Match: *`;
`LATEST` is moved with `If-Match`, carries the epoch of the mover and names every committed checkpoint.
A box takes the run over by compare-and-swap on the lease and then re-stamps `LATEST`, so that an older
box still running can commit nothing: its next move of `LATEST` fails. Whatever else a stale box could
write over (status, model) is written conditionally on a version read *before* the lease was asked for.
Whatever is read back is verified by SHA-256. No decision depends on a clock. Neither restore nor sync
lists the history; a boot lists once, to clear uploads that never ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from bootstrap.checkpoints import Checkpoints
from bootstrap.snapshot import Moved, Snapshot
from contract.cluster import Head
from contract.errors import StorageError
from contract.failpoints import reach
from contract.receipt import Left, left_of
from contract.status import Deadline, Event, Lease, Manifest, Status, StopRequest


class RunStore(Checkpoints):
    """Lease and checkpoints (see there), status, deadline, stop request, events, logs, host keys, model, report."""

    def read_status(self) -> Status | None:
        return self._objects.read(self.layout.status, Status)[0]

    def read_deadline(self) -> datetime | None:
        """Until when the run was extended, if it was."""
        deadline, _ = self._objects.read(self.layout.deadline, Deadline)
        return deadline.stop_at if deadline else None

    def read_stop(self) -> StopRequest | None:
        """The request to stop, while it stands."""
        request, _ = self._objects.read(self.layout.stop, StopRequest)
        return request if request and request.stands else None

    def read_head(self) -> Head | None:
        """Where the head of the cluster is, if there is one."""
        return self._objects.read(self.layout.head, Head)[0]

    def write_head(self, head: Head, lease: Lease) -> None:
        """Raises StaleLease when another instance owns the run."""
        while True:
            _, etag = self._objects.read(self.layout.head, Head)
            self.assert_lease(lease)
            if self._objects.swap(self.layout.head, head, etag):
                return

    def put_host_key(self, instance: str, key: bytes) -> None:
        self._objects.put_text(self.layout.host_key(instance), key)

    def write_status(self, status: Status, lease: Lease, mine: str = "") -> str:
        """A final phase is final: it is not written over. Returns what to give as `mine` the next time.

        `mine` is the ETag of the version that this box wrote last. It is to be known since before the lease was last
        asserted; while that version is still there nobody else has written, and one request is enough.

        Raises StaleLease when another instance owns the run.
        """
        reach("status.before")
        written = self._objects.swap(self.layout.status, status, mine) if mine else ""
        while not written:
            before, etag = self._objects.read(self.layout.status, Status)
            self.assert_lease(lease)
            if before and before.phase.final and not status.phase.final:
                return ""
            written = self._objects.swap(self.layout.status, status, etag)
        reach("status.after")
        return "" if status.phase.final else written

    def add_event(self, event: Event) -> None:
        stamp = event.time.strftime("%Y%m%dT%H%M%S.%fZ")
        reach("event.before")
        self._objects.put(self.layout.event(stamp, uuid.uuid4().hex[:8]), event)
        reach("event.after")

    def left(self, now: datetime) -> Left:
        """What the run's objects tell without being read."""
        return left_of(self.layout, self._objects.listed(self.layout.prefix), now)

    def read_events(self, keys: Iterable[str]) -> list[Event]:
        """In the order of the keys."""
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="events") as pool:
            found = pool.map(lambda key: self._objects.read(key, Event)[0], keys)
            return [event for event in found if event]

    def put_report(self, html: str, lease: Lease) -> None:
        """Raises StaleLease when another instance owns the run."""
        self.assert_lease(lease)
        reach("report.before")
        self._objects.put_text(self.layout.report, html.encode(), "html")
        reach("report.after")

    def put_log(self, instance: str, stream: str, offset: int, chunk: bytes) -> None:
        reach("log.before")
        self._objects.put_text(self.layout.log_chunk(instance, stream, offset), chunk)
        reach("log.after")

    def fetch_model(self, into: Path) -> Manifest:
        """The final artefacts into the directory `into`, every hash verified.

        Raises:
            StorageError: there are none, or they do not verify.
        """
        manifest, _ = self._objects.read(self.layout.model_manifest, Manifest)
        into.mkdir(parents=True, exist_ok=True)
        complaint = self._download(manifest, self.layout.model, into) if manifest else "it has no manifest"
        if manifest is None or complaint:
            raise StorageError(f"the model of {self.layout.run} cannot be fetched", why=complaint)
        return manifest

    def commit_model(self, files: Snapshot, step: int, lease: Lease) -> Manifest:
        """Upload the final artefacts, their manifest last, and verify by reading it back.

        Raises:
            StaleLease: another instance owns the run; nothing of its model was written over.
            StorageError: S3 refused, or the model was written by another meanwhile.
        """
        manifest = Manifest(
            id="model",
            step=step,
            epoch=lease.epoch,
            instance=lease.instance,
            time=datetime.now(UTC),
            files=files.files,
        )
        keys = {file.name: self.layout.model + file.name for file in manifest.files}
        etags = {key: self._objects.etag(key) for key in (*keys.values(), self.layout.model_manifest)}
        self.assert_lease(lease)
        reach("model.upload.before")
        held = all(self._objects.swap_file(key, files.directory / name, etags[key]) for name, key in keys.items())
        reach("model.upload.after")
        if not files.unchanged():
            raise Moved("a file of the model changed while it was being uploaded")
        reach("model.manifest.before")
        held = held and bool(
            self._objects.swap(self.layout.model_manifest, manifest, etags[self.layout.model_manifest])
        )
        reach("model.manifest.after")
        read_back, _ = self._objects.read(self.layout.model_manifest, Manifest)
        if not held or read_back != manifest:
            self.assert_lease(lease)
            raise Moved(f"{self.layout.model_manifest} was written by another meanwhile")
        return manifest
