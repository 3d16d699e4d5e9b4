"""Who owns the run. Enters: an instance. Leaves: a lease with an epoch of its own, or `StaleLease`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from bootstrap.objects import Objects
from contract.errors import StaleLease
from contract.failpoints import reach
from contract.layout import RunLayout
from contract.status import Latest, Lease

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

REQUESTS_AT_ONCE = 8


class Leased:
    """A run's bucket under a lease: the ground on which everything else in it is written."""

    def __init__(self, s3: S3Client, bucket: str, run: str, *, at_once: int = REQUESTS_AT_ONCE) -> None:
        self.s3 = s3
        self._objects = Objects(s3, bucket)
        self._at_once = at_once
        self.layout = RunLayout(run)
        self._undropped: set[str] = set()
        """Checkpoints no longer kept whose objects could not be deleted yet."""

    def take_lease(self, instance: str, now: datetime) -> Lease:
        """Become the run's owner: epoch + 1, by compare-and-swap; then fence older owners off `LATEST`."""
        while True:
            held, etag = self._objects.read(self.layout.lease, Lease)
            mine = Lease(epoch=held.epoch + 1 if held else 1, instance=instance, time=now)
            reach("lease.before")
            if self._objects.swap(self.layout.lease, mine, etag):
                break
        reach("lease.after")
        while True:
            latest, etag = self._objects.read(self.layout.latest, Latest)
            if latest and latest.epoch > mine.epoch:
                self.assert_lease(mine)
            stamped = (latest or Latest(epoch=0)).model_copy(update={"epoch": mine.epoch})
            reach("fence.before")
            if self._objects.swap(self.layout.latest, stamped, etag):
                reach("fence.after")
                return mine

    def assert_lease(self, lease: Lease) -> None:
        """Raises StaleLease when another instance has taken the run over."""
        held, _ = self._objects.read(self.layout.lease, Lease)
        if held != lease:
            raise StaleLease(
                f"{lease.instance} no longer owns run {self.layout.run}",
                why=f"{held.instance if held else 'nobody'} has taken it over",
                mend="nothing: this instance commits nothing more",
            )
