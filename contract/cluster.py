"""What the boxes of a cluster agree on: through which ports Ray speaks, and where its head is.

Ray picks most of its ports at random unless it is told; all are pinned here, so that a security group can name them.
Its client server (10001 on a head, where gRPC happens to be installed) is in no range: nobody gets there.
https://docs.ray.io/en/latest/cluster/cli.html (`ray start`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contract.status import Record

SERVICES = (
    "gcs",
    "node-manager",
    "object-manager",
    "runtime-env-agent",
    "dashboard-agent-grpc",
    "dashboard-agent-listen",
    "metrics-export",
)
"""One port each, from the first on."""
WORKERS = 1000
"""Ports for Ray's worker processes: each binds one, and starts as many as there are tasks and actors."""


@dataclass(frozen=True)
class Ports:
    first: int = 6379
    workers_from: int = 10_002

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Ports:
        """`RAY_PORTS`, first and workers_from, where several boxes share one network: in a rehearsal."""
        first, _, workers_from = environment.get("RAY_PORTS", "").partition(",")
        return cls(int(first), int(workers_from)) if first and workers_from else cls()

    @property
    def gcs(self) -> int:
        """Where a head is found."""
        return self.first

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """Every port through which two boxes speak, as (from, to)."""
        return (self.first, self.first + len(SERVICES) - 1), (self.workers_from, self.workers_from + WORKERS - 1)

    @property
    def options(self) -> tuple[str, ...]:
        """What `ray start` is told on every box, head or worker."""
        pinned = (f"--{name}-port={self.first + number}" for number, name in enumerate(SERVICES) if name != "gcs")
        first, last = self.ranges[1]
        return *pinned, f"--min-worker-port={first}", f"--max-worker-port={last}"


class Head(Record):
    """`head.json`: where the cluster's head listens now."""

    address: str
    """`<private address>:<port>` of Ray's GCS."""
    instance: str
    epoch: int
    """Of the run's lease; grows with every head."""
    token: str
    """What Ray asks of whoever joins or gives work (https://docs.ray.io/en/latest/ray-security/token-auth.html)."""
