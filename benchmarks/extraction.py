"""What `signspot extract` costs. `python benchmarks/extraction.py ../shared/data/videos --pairs 3`

In turn, in pairs, so that a busy machine is busy for both: one process against one per core, and one process against
bare inference on frames decoded beforehand, whole clips each. Then a second run, the share of frames with
a hand, and the peak memory of a process on a clip and on the same clip ten times as long.
Enters: a folder of clips. Leaves: ratios, as text and JSON. Every number of clips a second leaves the start of
the processes (import of MediaPipe) out: each first does a clip that is not counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trainer.clips import find_clips
from trainer.extract import extract
from trainer.extract_report import Progress
from trainer.hand_model import find_hand_model, user_cache
from trainer.landmarks import Clip, HandTracker, Options, read_clip
from trainer.video import Video
from trainer.workers import Crash, run_jobs

REPEATS = 4
"""Times that every clip is done in one measurement."""


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


def in_one_process(job: object, tasks: Sequence[tuple[Path, Path]]) -> list[Measured]:
    """The tasks one after the other; the first is done once more, before, and not counted."""
    with closing(run_jobs(job, [tasks[0], *tasks], 1)) as answers:  # type: ignore[arg-type, type-var]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, default=Path("results/extraction.json"))
    options = parser.parse_args()
    model = find_hand_model(None, user_cache(os.environ))
    clips = [(clip.path, model) for clip in find_clips(options.videos)]
    more, whole = [], []
    for _ in range(options.pairs):
        more.append(timed(clips * REPEATS, options.processes) / timed(clips * REPEATS, 1))
        whole.append(rate(in_one_process(streamed, clips)) / rate(in_one_process(bare, clips)))
        print(f"{options.processes} processes: {more[-1]:.2f} times one; whole / bare: {whole[-1]:.3f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out, command = Path(folder, "out"), [sys.executable, "-m", "trainer.extract", str(options.videos), "--to"]
        outcomes = extract(options.videos, out, model, processes=options.processes, progress=Progress(io.StringIO()))
        began = time.monotonic()
        subprocess.run([*command, str(out)], check=False, stdout=subprocess.DEVNULL)
        second = time.monotonic() - began
        repeat_clip(clips[0][0], Path(folder, "short.avi"), 1)
        repeat_clip(clips[0][0], Path(folder, "long.avi"), 10)
        peaks = [
            max(result.peak_kib for result in in_one_process(streamed, [(Path(folder, name), model)]))
            for name in ("short.avi", "long.avi")
        ]
    frames = sum(outcome.frames for outcome in outcomes)
    result = {
        "clips": len(clips),
        "frames": frames,
        "hand_found_percent": round(100 - 100 * sum(each.frames * each.empty_share for each in outcomes) / frames, 1),
        "processes": options.processes,
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "times_one_process": [round(ratio, 2) for ratio in more],
        "median_times_one_process": round(statistics.median(more), 2),
        "whole_to_bare": [round(ratio, 3) for ratio in whole],
        "median_whole_to_bare": round(statistics.median(whole), 3),
        "second_run_seconds": round(second, 2),
        "peak_mib": [round(peak / 1024) for peak in peaks],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
