"""Extraction on a Ray cluster of this machine: two workers against one on one core, and against the local pool.

    python -m benchmarks.ray_extraction ../shared/data/videos

Each side does the same clips with the job of `signspot extract`; the start of cluster and processes is left out: every
worker first does a clip that is not counted. Besides, what the head can hand out: clips a second with a job that does
nothing, and so what more machines than that would wait for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.pairs import arguments, one_core, rounds
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.table import show
from trainer.clips import find_clips
from trainer.cluster import LOCAL
from trainer.extract import Answer, Done, Job, Pool, Task, extract_clip
from trainer.fleet import run_at
from trainer.hand_model import find_hand_model, user_cache
from trainer.landmarks import Options
from trainer.workers import run_jobs

REPEATS, ALONE = 12, 2
"""Times that every clip is done in one measurement of two workers, and of one. Two end half a clip apart on average, by
chance: of 20 clips that would be a twentieth of the time, as much as is to be told apart."""
ONE, ON_ONE_CORE = "one worker, all cores its own", "one worker on one core"
POOL = "the local pool of two processes"
NOTHINGS = 200
"""Clips of the job that does nothing."""


def nothing(_: Task) -> Answer:
    return Done(None, None)


def clips_a_second(pool: Pool, job: Job, tasks: Sequence[Task], workers: int) -> float:
    """From the moment that as many clips as there are workers are done."""
    with closing(pool(job, [tasks[0]] * workers + list(tasks), workers)) as answers:
        for number, (task, answer) in enumerate(answers):
            assert isinstance(answer, Done), f"{task.clip}: {answer}"
            if number == workers - 1:
                began = time.monotonic()
    return len(tasks) / (time.monotonic() - began)


def main() -> None:
    parser = arguments("ray_extraction", __doc__, 3)
    parser.add_argument("videos", type=Path)
    options = parser.parse_args()
    model = find_hand_model(None, user_cache(os.environ))
    tasks = [Task(clip.path, Path("-"), model, Options(), False) for clip in find_clips(options.videos)]

    def ray(workers: int) -> Pool:
        run = run_at(LOCAL, workers)
        return lambda job, some, _: run(job, some, 0)

    def one() -> float:
        return clips_a_second(ray(1), extract_clip, tasks * ALONE, 1)

    def on_one_core() -> float:
        with one_core():
            return one()

    sides: dict[str, Callable[[], float]] = {
        ON_ONE_CORE: on_one_core,
        ONE: one,
        "two": partial(clips_a_second, ray(2), extract_clip, tasks * REPEATS, 2),
        POOL: partial(clips_a_second, run_jobs, extract_clip, tasks * REPEATS, 2),
        "head": partial(clips_a_second, ray(2), nothing, (tasks * NOTHINGS)[:NOTHINGS], 2),
    }
    found = rounds(sides, options.pairs)
    result = Result(
        name="ray_extraction",
        what="Extraction on a Ray cluster of one machine, against one worker and against the local pool.",
        how=f"{len(tasks)} clips of {sum(task.clip.stat().st_size for task in tasks) / len(tasks) / 1e6:.2f} MB on "
        f"average, {REPEATS} times each by two workers and {ALONE} times by one; "
        "the first clip of each worker is not counted.",
        baselines=tuple(Baseline(name=name) for name in (ON_ONE_CORE, ONE, POOL)),
        rows=(
            *(
                Row(
                    measure="clips, two workers",
                    unit="per s",
                    ours=tuple(found["two"]),
                    theirs=tuple(found[name]),
                    against=name,
                    aim=Aim(number=times, direction="at least") if times else None,
                )
                for name, times in ((ON_ONE_CORE, 1.8), (ONE, None), (POOL, 0.95))
            ),
            Row(measure="clips that the head hands out", unit="per s", ours=tuple(found["head"])),
        ),
    )
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
