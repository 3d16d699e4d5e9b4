"""What the box says about a run and the laptop reads: status, events, manifests, the lease.

All are JSON objects in the run's bucket (see `layout.py`); unknown fields are ignored on
reading, so that an older client can read a newer box.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Phase(StrEnum):
    """pending → booting → training → interrupted → (booting …) → done | failed | expired"""

    PENDING = "pending"
    BOOTING = "booting"
    TRAINING = "training"
    INTERRUPTED = "interrupted"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self in (Phase.DONE, Phase.FAILED, Phase.EXPIRED)


class Progress(Record):
    """What the trainer reports about itself, in `<SM_OUTPUT_DIR>/progress.json`, replaced atomically."""

    step: int = 0
    """Optimiser steps done, from the start of the run (not of the attempt)."""
    steps: int = 0
    """Steps of the whole run as planned; early stopping may end it before."""
    earliest_end: int = 0
    """Step at which early stopping may end it at the earliest; 0 where there is none."""
    train_epoch: int = 0
    train_epochs: int = 0
    metrics: dict[str, float] = Field(default_factory=dict)
    """The latest values by name, e.g. `loss`, `accuracy`, `val_loss`, `val_accuracy`."""


class Health(StrEnum):
    """Whether checkpoints arrive in S3 as they should."""

    OK = "ok"
    STALE = "stale"


class Usage(Record):
    """How busy the box is, in percent; None: it does not say."""

    gpu_percent: int | None = None
    """Share of the last second or less in which the busiest GPU worked."""
    gpu_memory_percent: int | None = None
    """Of the GPU whose memory is fullest."""
    memory_percent: int | None = None
    """Of the box's memory, what is not available to a new program."""


class Status(Record):
    """`status.json`: the run as its present owner last saw it."""

    run: str
    phase: Phase
    instance: str = ""
    instance_type: str = ""
    zone: str = ""
    epoch: int = 0
    """Lease epoch of the instance that wrote this; grows by one with every boot."""
    attempts: int = 0
    fruitless_attempts: int = 0
    """Boots in a row that ended without a newer checkpoint."""
    heartbeat: datetime
    progress: Progress = Progress()
    usage: Usage = Usage()
    restored_step: int = 0
    """Step of the checkpoint this attempt started from."""
    checkpoint: str = ""
    """Id of the newest checkpoint that was verified in S3, or empty."""
    checkpoint_step: int = 0
    checkpoint_time: datetime | None = None
    reason: str = ""
    """Why the phase is what it is, for a person."""
    since: datetime | None = None
    """When this instance entered the phase."""
    health: Health = Health.OK
    """As the instance last saw it; when it cannot reach S3 nobody writes this: ask `is_stale`."""
    stale_after: float = 300.0
    """Seconds without a new verified checkpoint after which the run is stale."""
    health_reason: str = ""
    """Why it is stale: what the last failed sync said."""
    trouble: str = ""
    """What the last sync could not bring to S3, and why; empty: all that there was to bring is there."""
    cut_off: bool = False
    """The trainer was to save itself before its box ended, and did not: what came after its last checkpoint is lost."""
    warnings: tuple[str, ...] = ()
    """What a person should know although the run goes on."""


def is_stale(status: Status, now: datetime) -> bool:
    """Whether the newest verified checkpoint is older than it may be, by the reader's clock.

    Only while training: a run that waits for capacity, or is over, saves nothing. A new attempt is given
    the same time again. True also when the instance says so itself.
    """
    if status.phase is not Phase.TRAINING:
        return False
    fresh = max((time for time in (status.checkpoint_time, status.since) if time), default=status.heartbeat)
    return status.health is Health.STALE or now - fresh > timedelta(seconds=status.stale_after)


class Deadline(Record):
    """`deadline.json`: what an extension of a run tells the box that is already up."""

    stop_at: AwareDatetime
    """UTC time at which the group goes to 0."""


class StopRequest(Record):
    """`stop.json`: asks the box that has the run to save and to leave, and any other not to begin."""

    asked_at: AwareDatetime
    lifted_at: AwareDatetime | None = None
    """When `signspot restart` took it back."""

    @property
    def stands(self) -> bool:
        return self.lifted_at is None


class Machine(Record):
    """What an attempt runs on: what its bill is made of."""

    type: str = ""
    zone: str = ""
    launched: datetime | None = None
    """When EC2 says that the instance was launched."""
    volume_gb: int = 0


class Event(Record):
    """One thing that happened, never overwritten; together they are the timeline of the run."""

    time: datetime
    kind: str
    """booting, restored, training, stalled, idle, extended, notice, interrupted, stopped, done, failed, expired, …"""
    instance: str
    epoch: int = 0
    step: int = 0
    message: str = ""
    seconds: float | None = None
    machine: Machine | None = None
    """Of a `booting` event."""


class ManifestFile(Record):
    name: str
    """Path below the directory, `/`-separated."""
    size: int
    sha256: str
    pack: str = ""
    """The object below the set's prefix in which it lies among others; empty: it is an object by its own name."""
    offset: int = 0
    """Its first byte in the pack."""

    @property
    def object(self) -> str:
        return self.pack or self.name


class Manifest(Record):
    """A set of files that is complete exactly when this manifest exists."""

    id: str
    step: int
    parent: str = ""
    epoch: int
    instance: str
    time: datetime
    files: tuple[ManifestFile, ...]
    metric: float | None = None
    """The trainer's `val_loss` when the set was taken, where it reports one: the lower the better."""


class Latest(Record):
    """`LATEST`: the committed checkpoints. A manifest that is not named here was never committed."""

    epoch: int
    """Of the box that moved it; fences off older owners of the run."""
    checkpoints: tuple[str, ...] = ()
    """Ids, newest first, as many as are kept."""
    best: str = ""
    """Id of the checkpoint with the lowest metric, kept besides them; empty where none has a metric."""
    best_metric: float | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """Every id named, in the order in which a restore tries them."""
        return self.checkpoints + ((self.best,) if self.best and self.best not in self.checkpoints else ())


class Lease(Record):
    """`lease.json`: who owns the run. Taken by compare-and-swap, `epoch` + 1 each time."""

    epoch: int
    instance: str
    time: datetime
