"""What `signspot extract` costs. `python -m benchmarks.extraction ../shared/data/videos`

In turn, in pairs, so that a busy machine is busy for both, whole clips each: a process for each core against one
process on one core (what a core adds) and against one that may use them all (it decodes the next frames on another),
and one process against bare inference on frames decoded beforehand. Then a second run, the share of
frames with a hand, and the peak memory of a process on a clip and on the same clip ten times as long.
Enters: a folder of clips. Leaves: a Result. Every number of clips a second leaves the start of
the processes (import of MediaPipe) out: each first does a clip that is not counted.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.pairs import arguments, one_core, rounds, run
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.table import show
from trainer.clips import find_clips
from trainer.extract import extract
from trainer.extract_report import Progress
from trainer.hand_model import find_hand_model, user_cache
from trainer.landmarks import Clip, HandTracker, Options, read_clip
from trainer.video import Video
from trainer.workers import Crash, run_jobs

MANY, ONE = "a process for each core", "one process, all cores its own"
ON_ONE_CORE = "one process on one core"
SHORT = "the same clip, a tenth as long"
LEAST: Final = "at least"
BARE = "the landmarker alone, on frames in memory"


@dataclass(frozen=True)
class Measured:
    frames: int
    seconds: float
    peak_kib: int


def streamed(task: tuple[Path, Path]) -> Measured:
    """What a worker of `signspot extract` does."""
    began = time.monotonic()
    clip: Clip = read_clip(*task, Options())
    return Measured(len(clip.keypoints), time.monotonic() - began, peak_kib())


def bare(task: tuple[Path, Path]) -> Measured:
    """Nothing but inference, on frames that are in memory."""
    with Video(task[0]) as video:
        frames = list(video)
    with HandTracker(task[1], Options()) as tracker:
        began = time.monotonic()
        for index, frame in enumerate(frames):
            tracker.track(frame, index * 33)
    return Measured(len(frames), time.monotonic() - began, peak_kib())


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed(tasks: Sequence[tuple[Path, Path]], processes: int) -> float:
    """Frames a second of `streamed`, from the moment that every process has done its first clip."""
    warm, frames = 0, 0
    began = last = 0.0
    with closing(run_jobs(streamed, [tasks[0]] * processes + list(tasks), processes)) as answers:
        for _, result in answers:
            if isinstance(result, Crash):
                sys.exit(result.why)
            last = time.monotonic()
            if warm < processes:
                warm += 1
                began = last
            else:
                frames += result.frames
    return frames / (last - began)


def on_one_core(tasks: Sequence[tuple[Path, Path]]) -> float:
    with one_core():
        return timed(tasks, 1)


def in_one_process(job: object, tasks: Sequence[tuple[Path, Path]]) -> list[Measured]:
    """The tasks one after the other; the first is done once more, before, and not counted."""
    with closing(run_jobs(job, [tasks[0], *tasks], 1)) as answers:  # type: ignore[arg-type]
        results: list[Measured] = [result for _, result in answers]  # type: ignore[misc]
    return results[1:]


def rate(results: Sequence[Measured]) -> float:
    return sum(result.frames for result in results) / sum(result.seconds for result in results)


def repeat_clip(source: Path, target: Path, times: int) -> None:
    """The clip's frames again and again, as motion JPEG."""
    import cv2

    with Video(source) as video:
        frames = list(video)
    size = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(target), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 30, size)
    for _ in range(times):
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def rates(
    what: str, ours: tuple[float, ...], theirs: tuple[float, ...], against: str, times: float | None = None
) -> Row:
    """Frames a second, of which ours are to be at least `times` as many."""
    aim = Aim(number=times, direction=LEAST) if times else None
    return Row(measure=what, unit="frames/s", ours=ours, theirs=theirs, against=against, aim=aim)


def main() -> None:
    parser = arguments("extraction", __doc__)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=2, help="of every clip, where every core works")
    options = parser.parse_args()
    if not options.videos.is_dir():
        sys.exit(f"{options.videos} is absent; name a folder of clips")
    model = find_hand_model(None, user_cache(os.environ))
    clips = [(clip.path, model) for clip in find_clips(options.videos)]
    sides = {
        MANY: lambda: timed(clips * options.repeats, options.processes),
        ON_ONE_CORE: lambda: on_one_core(clips),
        ONE: lambda: timed(clips, 1),
        BARE: lambda: rate(in_one_process(bare, clips)),
    }
    found = {name: tuple(rates) for name, rates in rounds(sides, options.pairs).items()}
    with tempfile.TemporaryDirectory() as folder:
        out, command = Path(folder, "out"), [sys.executable, "-m", "trainer.extract", str(options.videos), "--to"]
        outcomes = extract(options.videos, out, model, processes=options.processes, progress=Progress(io.StringIO()))
        second = run([*command, out], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).seconds
        repeat_clip(clips[0][0], Path(folder, "short.avi"), 1)
        repeat_clip(clips[0][0], Path(folder, "long.avi"), 10)
        short, long = (
            max(result.peak_kib for result in in_one_process(streamed, [(Path(folder, name), model)])) / 1024
            for name in ("short.avi", "long.avi")
        )
    frames = sum(outcome.frames for outcome in outcomes)
    seen = 100 - 100 * sum(each.frames * each.empty_share for each in outcomes) / frames
    result = Result(
        name="extraction",
        what="From clips to keypoints, by `signspot extract`.",
        how=f"{len(clips)} clips, {frames} frames; the start of the processes is left out.",
        baselines=(Baseline(name=ON_ONE_CORE), Baseline(name=ONE), Baseline(name=BARE), Baseline(name=SHORT)),
        rows=(
            rates(MANY, found[MANY], found[ON_ONE_CORE], ON_ONE_CORE, 1.85),
            rates(MANY, found[MANY], found[ONE], ONE),
            rates(ONE, found[ONE], found[BARE], BARE, 0.9),
            Row(measure="a second run, nothing to do", unit="s", ours=(second,), aim=Aim(number=1, of="ours")),
            Row(measure="frames with a hand", unit="%", ours=(seen,), aim=Aim(number=95, direction=LEAST, of="ours")),
            Row(measure="peak memory", unit="MiB", ours=(long,), theirs=(short,), against=SHORT, aim=Aim(number=1.05)),
        ),
    )
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
