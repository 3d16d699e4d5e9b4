"""What is to be recognised. Enters: a keypoint file, a clip, or a folder of either. Leaves: keypoints of each.

Clips go through the very job of `signspot extract`, in processes of their own, which have no TensorFlow and may crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from contract.errors import DataError
from trainer.clips import find_clips
from trainer.extract import Done, Failed, Job, Missing, Task, extract_clip
from trainer.keypoints import Keypoints, load_keypoints
from trainer.landmarks import MissingLibrary, Options
from trainer.video import VIDEO_SUFFIXES, refuse_what_is_no_video
from trainer.workers import Crash, run_jobs

KEYPOINTS_SUFFIX = ".npy"
SUFFIXES = VIDEO_SUFFIXES | {KEYPOINTS_SUFFIX}


@dataclass(frozen=True)
class Source:
    path: Path
    name: str
    """As it is told to people: the path, or what is below the folder."""

    @property
    def is_clip(self) -> bool:
        return self.path.suffix.lower() != KEYPOINTS_SUFFIX


@dataclass(frozen=True)
class Seen:
    """What was found in a source."""

    keypoints: Keypoints
    frames_per_second: float | None
    """None where nobody says."""
    doubts: tuple[str, ...] = ()
    """What is suspicious about a clip, each to be read after its name."""


def find_sources(path: Path) -> tuple[Source, ...]:
    """The file itself, or every clip and keypoint file below the folder.

    Raises:
        DataError: there is nothing, or nothing of these kinds.
    """
    if path.is_dir():
        return tuple(Source(file.path, str(file.relative)) for file in find_clips(path, SUFFIXES))
    if not path.exists() and not path.is_symlink():
        raise DataError(f"{path} does not exist", mend="correct the path")
    if path.suffix.lower() not in SUFFIXES:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{path} is neither a clip nor a keypoint file", mend=f"name a file in one of {kinds}")
    source = Source(path, str(path))
    if source.is_clip:
        refuse_what_is_no_video(path)
    return (source,)


def look_at(
    sources: Sequence[Source], find_model: Callable[[], Path], processes: int, job: Job = extract_clip
) -> Iterator[tuple[Source, Seen | DataError]]:
    """Each source with what was found in it, or what is wrong, to be read after its name; clips as they get ready.

    `find_model` is asked for the hand landmarker's model if there is a clip.

    Raises:
        MissingLibrary: there is a clip, and this machine cannot run MediaPipe or OpenCV.
        SignspotError: what `find_model` raises.
    """
    for source in sources:
        if not source.is_clip:
            yield source, _read(source.path)
    clips = [source for source in sources if source.is_clip]
    if not clips:
        return
    model, options = find_model(), Options()
    tasks = {Task(clip.path, clip.path, model, options, preview=False): clip for clip in clips}
    with closing(run_jobs(job, tasks, max(1, min(processes, len(tasks))))) as answers:
        for task, answer in answers:
            match answer:
                case Missing(what, why, mend):
                    raise MissingLibrary(what, why=why, mend=mend)
                case Crash(why):
                    yield tasks[task], DataError(f"could not be processed ({why.strip().splitlines()[-1]})")
                case Failed(why):
                    yield tasks[task], DataError(why)
                case Done(found):
                    assert found is not None
                    yield tasks[task], Seen(found.keypoints, found.frames_per_second, found.doubts)


def _read(path: Path) -> Seen | DataError:
    try:
        return Seen(load_keypoints(path), _recorded_rate(path))
    except DataError as error:
        return DataError(error.what.removeprefix(f"{path} "), why=error.why, mend=error.mend)


def _recorded_rate(keypoints: Path) -> float | None:
    """Frames per second from the record that `signspot extract` wrote beside them, if it did."""
    try:
        rate = json.loads(keypoints.with_suffix(".json").read_bytes())["frames_per_second"]
        return float(rate) if 0 < rate <= 1000 else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
