"""What 10,000 clips and 200 trials would take on 1, 4, 16 and 64 spot boxes, simulated from measured rates.

    python -m benchmarks.ray_scale --extraction results/bench/ray_extraction.json \
        --sweep results/sweep-signs/sweep/leaderboard.json

Nothing is started. A box boots, works, is taken away after a time drawn from an exponential distribution, and another
follows; what it had in hand is done again, a clip from its beginning, a trial from its last checkpoint. Each task is
handed out by the head, one after the other, which takes its processor and its network so long. Boxes are paid from
their launch to the end of all, the head is on demand. The same seed gives the same numbers.
Enters: the results of `ray_extraction.py` and of a sweep. Leaves: the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.ray_extraction import ON_ONE_CORE
from benchmarks.result import Result, Spread
from contract.config import LimitsConfig
from contract.prices import KNOWN, MINIMUM_SECONDS, SPOT_USD_PER_HOUR
from trainer.sweep_board import Board

BOXES = (1, 4, 16, 64)
PAGE = Path("docs/scale.md")
BEGIN, END = "<!-- scale -->", "<!-- /scale -->"
HEAD_USD_PER_HOUR = LimitsConfig().head_price_per_hour
SEEDS = 20


@dataclass(frozen=True)
class Fleet:
    boxes: int
    slots: int
    """Tasks that a box does at a time."""
    boot_seconds: float
    up_seconds: float
    """Mean life of a box."""
    down_seconds: float
    """Mean time until another can be had."""
    hand_out_seconds: float
    """That the head is busy with one task; nobody else is handed one in the meantime."""
    checkpoint_seconds: float
    """Between two checkpoints of a task; 0: it has none, and begins anew."""


@dataclass(frozen=True)
class Outcome:
    seconds: float
    box_seconds: float
    redone_seconds: float
    """Work of lost boxes that was done again."""
    lost: int
    """Boxes that were taken away."""
    waited_seconds: float
    """That slots waited for the head."""


class Box:
    """One place of the group: the lives of the instances that follow each other in it."""

    def __init__(self, fleet: Fleet, random: np.random.Generator) -> None:
        self._fleet, self._random = fleet, random
        self.lives: list[tuple[float, float]] = []
        """From launch to the end, in seconds."""
        self._add(0.0)

    def _add(self, launch: float) -> None:
        self.lives.append((launch, launch + self._random.exponential(self._fleet.up_seconds)))

    def usable(self, now: float) -> tuple[float, float]:
        """The first moment from `now` on at which an instance of it works, and when that one is taken away."""
        while True:
            for launch, end in self.lives:
                ready = max(now, launch + self._fleet.boot_seconds)
                if ready < end:
                    return ready, end
            self._add(self.lives[-1][1] + self._random.exponential(self._fleet.down_seconds))


def simulate(tasks: Sequence[float], fleet: Fleet, seed: int) -> Outcome:
    """`tasks`: seconds that each takes on one slot."""
    random = np.random.default_rng(seed)
    boxes = [Box(fleet, random) for _ in range(fleet.boxes)]
    slots = [(0.0, number, slot) for number in range(fleet.boxes) for slot in range(fleet.slots)]
    waiting = [(0.0, number, seconds) for number, seconds in enumerate(tasks)]
    heapq.heapify(slots)
    heapq.heapify(waiting)
    head_free = finished = redone = waited = 0.0
    while waiting:
        free, number, slot = heapq.heappop(slots)
        known, task, left = waiting[0]
        ready, end = boxes[number].usable(max(free, known))
        if ready > free:  # until then it is the turn of others
            heapq.heappush(slots, (ready, number, slot))
            continue
        heapq.heappop(waiting)
        begin = max(ready, head_free)
        head_free = begin + fleet.hand_out_seconds
        waited += begin - ready
        if begin + left <= end:
            finished = max(finished, begin + left)
            heapq.heappush(slots, (begin + left, number, slot))
            continue
        done = max(0.0, end - begin)
        kept = done - done % fleet.checkpoint_seconds if fleet.checkpoint_seconds else 0.0
        redone += done - kept
        heapq.heappush(waiting, (max(end, begin), task, left - kept))
        heapq.heappush(slots, (max(end, begin), number, slot))
    lives = [(launch, min(end, finished)) for box in boxes for launch, end in box.lives if launch < finished]
    paid = sum(max(MINIMUM_SECONDS, end - launch) for launch, end in lives)
    lost = sum(end < finished for box in boxes for _, end in box.lives)
    return Outcome(finished, paid, redone, lost, waited)


def table(tasks: Sequence[Sequence[float]], fleet: Fleet) -> str:
    """Markdown: medians over as many simulations as there are lists of tasks."""
    lines = [
        "| boxes | hours | $ | of it the head | boxes lost | minutes done twice | at work | waiting for the head |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for boxes in BOXES:
        found = [simulate(some, replace(fleet, boxes=boxes), seed) for seed, some in enumerate(tasks)]
        hours = statistics.median(one.seconds for one in found) / 3600
        slots = statistics.median(one.box_seconds for one in found) * fleet.slots
        dollars = slots / fleet.slots / 3600 * SPOT_USD_PER_HOUR
        head = hours * HEAD_USD_PER_HOUR if boxes > 1 else 0.0
        work = statistics.median(sum(some) for some in tasks)
        lost = statistics.median(one.lost for one in found)
        twice = statistics.median(one.redone_seconds for one in found) / 60
        waited = statistics.median(one.waited_seconds for one in found) / slots
        lines.append(
            f"| {boxes} | {hours:.2f} | {dollars + head:.2f} | {head:.2f} | {lost:.0f} | {twice:.1f} "
            f"| {work / slots:.0%} | {waited:.1%} |"
        )
    return "\n".join(lines)


def rate(result: Result, measure: str, against: str = "") -> float:
    row = next(row for row in result.rows if row.measure == measure and row.against == against)
    return Spread.of(row.ours).median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extraction", type=Path, default=Path("results/bench/ray_extraction.json"))
    parser.add_argument("--sweep", type=Path, default=Path("results/sweep-signs/sweep/leaderboard.json"))
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--clip-mb", type=float, default=2.0, help="of a clip, as it travels from the head")
    parser.add_argument(
        "--head-gbit", type=float, default=0.75, help="m5a.large's baseline; it may burst to 10 for a while"
    )
    parser.add_argument("--slots", type=int, default=4, help="clips at a time on a box: g4dn.xlarge has 4 vCPUs")
    parser.add_argument("--trials-at-once", type=int, default=2, help="on a box")
    parser.add_argument("--boot-seconds", type=float, default=300)
    parser.add_argument("--up-hours", type=float, default=1.8, help="docs/simulation.md")
    parser.add_argument("--down-minutes", type=float, default=10, help="docs/simulation.md")
    options = parser.parse_args()
    result = Result.model_validate_json(options.extraction.read_bytes())
    per_worker = rate(result, "clips, two workers", ON_ONE_CORE) / 2
    head = rate(result, "clips that the head hands out")
    board = Board.read(options.sweep.parent)
    assert board is not None
    trials = [row.seconds for row in board.rows if row.state in ("finished", "ended early")]
    network = options.clip_mb * 8e-3 / options.head_gbit
    fleet = Fleet(1, options.slots, options.boot_seconds, options.up_hours * 3600, options.down_minutes * 60, 0.0, 0.0)
    clips = [[1 / per_worker] * options.clips] * SEEDS
    drawn = [list(np.random.default_rng(seed).choice(trials, options.trials)) for seed in range(SEEDS)]
    text = "\n\n".join(
        [
            f"Measured {result.measured:%Y-%m-%d} on {result.machine.processor}, {result.machine.cores} cores: "
            f"{per_worker:.2f} clips a second and worker, {head:.0f} a second that a head hands out; {len(trials)} "
            f"trials of {statistics.median(trials):.0f} s ({min(trials):.0f} to {max(trials):.0f}). Boxes: {KNOWN[0]} "
            f"at ${SPOT_USD_PER_HOUR} an hour, boot {options.boot_seconds:.0f} s, a life of {options.up_hours:g} h on "
            "average.",
            f"{options.clips:,} clips of {options.clip_mb:g} MB; the head's network at {options.head_gbit:g} Gbit/s "
            f"takes {network * 1000:.0f} ms for one, so {1 / max(network, 1 / head):.0f} clips a second are the most:",
            table(clips, replace(fleet, hand_out_seconds=max(network, 1 / head))),
            f"{options.trials} trials, {options.trials_at_once} at a time on a box, a checkpoint every 30 s:",
            table(drawn, replace(fleet, slots=options.trials_at_once, checkpoint_seconds=30)),
        ]
    )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
