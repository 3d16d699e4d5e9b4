"""A run on a trace. Enters: a trace, the work, how a run recovers. Leaves: each box's life; the best that was possible.

Whole milliseconds throughout. The model and its proofs: docs/simulation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cli.availability import SECOND, Offer, Trace

if TYPE_CHECKING:
    from numpy.random import Generator

NOTICE = 120 * SECOND
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""
USABLE = 108 * SECOND
"""Of it, for saving and uploading: bootstrap/pace.py."""
SEEN = 1 * SECOND
"""Until the agent has seen a new checkpoint: bootstrap/pace.py."""


@dataclass(frozen=True)
class Recovery:
    """How a run recovers from the loss of its box."""

    boot: int
    """From the launch to the first training step, installation and restore included."""
    save: int
    """From the beginning of a checkpoint until it is verified in S3."""
    promise: int
    """sync.checkpoint_seconds: what a kill without notice may cost."""
    notice: bool

    @cached_property
    def behind(self) -> int:
        return SEEN + self.save

    @cached_property
    def pace(self) -> int:
        """Between two checkpoints: decision 0004."""
        return min(self.promise, max(self.promise - self.behind, self.behind))

    @cached_property
    def at_most(self) -> int:
        """What a kill can cost, upload included; without the last term where uploads keep up with checkpoints."""
        return self.pace + self.behind + (self.behind if self.behind > self.pace else 0)

    @cached_property
    def heeds_notice(self) -> bool:
        """A notice that is too short for saving helps no more than a kill."""
        return self.notice and self.save <= USABLE

    def committed(self, trained: int) -> int:
        """How much of the training is in S3 when it is killed; one upload at a time, each of the newest checkpoint."""
        if self.behind <= self.pace:
            return max(0, (trained - self.behind) // self.pace * self.pace)
        uploads = (trained - self.pace) // self.behind
        return (self.pace + (uploads - 1) * self.behind) // self.pace * self.pace if uploads > 0 else 0


@dataclass(frozen=True)
class Life:
    """One box."""

    start: int
    end: int
    kept: int
    """Training that is in S3."""
    lost: int
    """Training that the next box has to do again."""
    done: bool
    """It finished the run; else it was taken away."""


@dataclass(frozen=True)
class Run:
    lives: tuple[Life, ...]
    ended: int
    """When the work was done, or the trace over."""
    done: bool

    @property
    def preemptions(self) -> int:
        """A box that lived when the trace was over was not seen to be taken away."""
        return sum(not life.done and life.end < self.ended for life in self.lives)

    @property
    def lost(self) -> int:
        return sum(life.lost for life in self.lives)

    @property
    def instance_time(self) -> int:
        return sum(life.end - life.start for life in self.lives)

    @property
    def waited(self) -> int:
        """Without a box."""
        return self.ended - self.instance_time


def live(recovery: Recovery, start: int, end: int, work: int) -> Life:
    """A box that is launched at `start` and would be taken away at `end`, with so much training left."""
    begin = start + recovery.boot
    ready = begin + work + recovery.save
    stop = end - NOTICE if recovery.heeds_notice else end
    trained = min(work, max(0, stop - begin))
    if trained == work and ready <= end:
        return Life(start, ready, work, 0, done=True)
    kept = trained if recovery.heeds_notice else recovery.committed(max(0, end - begin))
    return Life(start, end, kept, trained - kept, done=False)


def replay(trace: Trace, work: int, recovery: Recovery, random: Generator) -> Run:
    """At most one box, as in our group. Each takes the place of an instance that lives then, any of them alike."""
    now, lives = 0, list[Life]()
    while True:
        offers = trace.at(now)
        if not offers:
            start = trace.next_start(now)
            if start is None:
                return Run(tuple(lives), trace.until, done=False)
            now = start
            continue
        life = live(recovery, now, offers[int(random.integers(len(offers)))].end, work)
        lives.append(life)
        now, work = life.end, work - life.kept
        if life.done or now == trace.until:
            return Run(tuple(lives), now, life.done)


@dataclass(frozen=True)
class Ideal:
    """What somebody who knew the trace beforehand could have done in the time that we took."""

    instance_time: int
    boxes: int
    ended: int


def omniscient(trace: Trace, work: int, boot: int, save: int, by: int) -> Ideal | None:
    """The schedule with the least instance time that is done by then, and of these the one that ends first.

    Each box costs one boot and one save and trains up to the last moment. So the least time has the fewest boxes:
    the fewest offers whose union is long enough. None: there are none.
    """
    import numpy as np

    offers = _useful(trace.before(by).offers, boot + save)
    start, end = (np.array([getattr(offer, side) for offer in offers], np.int64) for side in ("start", "end"))
    gain = end - np.maximum(start, end[:, None])  # [i, j]: what offer j adds to a union whose last offer is i
    covered = end - start  # the longest union of so many offers of which j is the last
    for boxes in range(1, len(offers) + 1):
        needed = work + boxes * (boot + save)
        enough = covered >= needed
        if enough.any():
            return Ideal(needed, boxes, int((end - covered + needed)[enough].min()))
        steps = np.where(np.tri(len(offers), k=-1, dtype=bool).T, covered[:, None] + gain, -1)
        covered = steps.max(axis=0)
    return None


def _useful(offers: tuple[Offer, ...], overhead: int) -> list[Offer]:
    """Without those too short to train in, and those that lie within another; ordered by both start and end."""
    kept: list[Offer] = []
    for offer in sorted(offers, key=lambda one: (one.start, -one.end)):
        if offer.end - offer.start > overhead and (not kept or offer.end > kept[-1].end):
            kept.append(offer)
    return kept
