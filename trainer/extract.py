"""Clips → keypoints. Enters: a folder `<Word>/<clip>.mp4`. Leaves: the same folder of `.npy (frames, 2, 21, 3)`.

Beside each, `<clip>.json`: frame rate, presence of each hand, doubts, and what it was made from. A clip
is done again only if it, the model, the options or a version has changed. What can be told of a clip is told in
the summary, and the others go on.

    python -m trainer.extract VIDEOS --to KEYPOINTS [--preview] [--model FILE] [--processes N] [--max-empty 50]
                              [--ray local|ADDRESS]

Exit 0: every clip is good. Exit 7: partial: some failed or are doubtful, all the others are there. Exit 3: none
could be extracted. Exit 130: stopped; the same command goes on from here.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

from contract.errors import DataError, SignspotError
from trainer.clips import ClipFile, find_clips
from trainer.extract_report import EXIT_STOPPED, Outcome, Progress, Summary
from trainer.hand_model import MODEL_HASH, find_hand_model, user_cache
from trainer.keypoints import load_keypoints
from trainer.landmarks import Clip, MissingLibrary, Options, read_clip, require_opencv
from trainer.preview import contact_sheet
from trainer.record import Record, Target
from trainer.workers import Crash, cores, run_jobs

VERSION = 1
"""Counted up when the same clip would give other keypoints."""


@dataclass(frozen=True)
class Task:
    """What a worker gets. Without a model only the sheet is drawn, from keypoints that are there."""

    clip: Path
    keypoints: Path
    model: Path | None
    options: Options
    preview: bool


@dataclass(frozen=True)
class Done:
    extracted: Clip | None
    sheet: bytes | None
    no_sheet: str = ""
    """Why a sheet that was asked for is not there."""


@dataclass(frozen=True)
class Failed:
    why: str


@dataclass(frozen=True)
class Missing:
    """What this machine lacks for any clip: the parts of a MissingLibrary."""

    what: str
    why: str
    mend: str


Answer = Done | Failed | Missing
Job = Callable[[Task], Answer]
Pool = Callable[[Job, Iterable[Task], int], Generator[tuple[Task, Answer | Crash], None, None]]
"""Does the job for each task, so many at a time; `run_jobs` in processes here, `fleet.run_at` on a Ray cluster."""


@dataclass(frozen=True)
class _Work:
    """A clip that has something to be done, and where the result goes."""

    clip: str
    target: Target
    made_from: dict[str, object]
    known: Outcome | None
    """Set where only the sheet is missing."""


def extract_clip(task: Task) -> Answer:
    """One clip, in a worker."""
    try:
        require_opencv()
        extracted = read_clip(task.clip, task.model, task.options) if task.model else None
    except DataError as error:
        return Failed(_one_line(error).removeprefix(f"{task.clip.name} "))
    except MissingLibrary as error:
        return Missing(error.what, error.why, error.mend)
    if not task.preview:
        return Done(extracted, None)
    try:
        keypoints = extracted.keypoints if extracted else load_keypoints(task.keypoints)
        return Done(extracted, contact_sheet(task.clip, keypoints))
    except DataError as error:
        return Done(extracted, None, _one_line(error))


def extract(
    videos: Path,
    to: Path,
    model: Path,
    *,
    processes: int,
    progress: Progress,
    preview: bool = False,
    job: Job = extract_clip,
    pool: Pool = run_jobs,
) -> tuple[Outcome, ...]:
    """Keypoints of every clip below `videos` into `to`. `model` is verified; `processes` run at a time.

    Raises:
        DataError: no clips, or `to` cannot be written.
        MissingLibrary: MediaPipe or OpenCV cannot run on this machine.
        KeyboardInterrupt: passed on; what is done stays.
    """
    if to.resolve() == videos.resolve():
        raise DataError(f"{to} is the folder of the videos", mend="name another one with --to")
    clips = find_clips(videos)
    try:
        to.mkdir(parents=True, exist_ok=True)
        outcomes, work = _plan(clips, to, model, preview)
        progress.begin(len(clips), len(outcomes))
        with closing(pool(job, work, processes)) as answers:
            for task, answer in answers:
                outcomes.append(_keep(answer, work[task]))
                progress.advance()
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"{error.filename or to} cannot be written", why=why, mend="name another folder") from None
    return tuple(sorted(outcomes, key=lambda outcome: outcome.clip))


def _plan(clips: Iterable[ClipFile], to: Path, model: Path, preview: bool) -> tuple[list[Outcome], dict[Task, _Work]]:
    """What is known already, and what is to be done."""
    known, work, options = [], {}, Options()
    for clip in clips:
        target, name = Target.under(to, clip.stem), str(clip.relative)
        try:
            made_from = _made_from(clip.path, options)
        except OSError as error:
            known.append(Outcome(name, failure=f"cannot be read ({error.strerror or error})"))
            continue
        record = target.current(made_from)
        outcome = Outcome.of(record, cached=True) if record else None
        if outcome and (outcome.failure or not preview or target.sheet.exists()):
            known.append(outcome)
            continue
        task = Task(clip.path, target.keypoints, None if record else model, options, preview)
        work[task] = _Work(name, target, made_from, outcome)
    return known, work


def _keep(answer: Answer | Crash, work: _Work) -> Outcome:
    """Write what a worker found. A crash is not recorded: the next run tries again."""
    outcome = work.known
    match answer:
        case Missing(what, why, mend):
            raise MissingLibrary(what, why=why, mend=mend)
        case Crash(why):
            return Outcome(work.clip, failure=f"could not be processed ({why.strip().splitlines()[-1]})")
        case Failed(why):
            return Outcome.of(work.target.write(Record(work.clip, work.made_from, failure=why), None))
        case Done(found, sheet, no_sheet):
            if found:
                about = (found.doubts, 0, found.frames_per_second, found.width, found.height)
                record = Record(work.clip, work.made_from, "", *about)
                outcome = Outcome.of(work.target.write(record, found.keypoints))
            assert outcome is not None
            if sheet is not None:
                work.target.write_sheet(sheet)
            return replace(outcome, doubts=(*outcome.doubts, f"no preview: {no_sheet}")) if no_sheet else outcome


def _one_line(error: SignspotError) -> str:
    return f"{error.what} ({error.why})" if error.why else error.what


def _made_from(clip: Path, options: Options) -> dict[str, object]:
    if not clip.is_file():
        digest = "not a file"
    else:
        with clip.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "clip": digest,
        "model": MODEL_HASH,
        "options": asdict(options),
        "version": VERSION,
        **library_versions(),
    }


def library_versions() -> dict[str, str]:
    """Of the libraries that decide on the keypoints; an empty one is not installed."""
    return {package: _version(package) for package in ("mediapipe", "opencv-contrib-python")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _pool(ray: str | None, processes: int) -> tuple[Pool, int]:
    """Who does it, and how many at a time; on a cluster 0 is as many as it can."""
    if ray is None:
        return run_jobs, max(1, processes or cores())
    from trainer.fleet import run_at

    return run_at(ray), max(0, processes)


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.extract", description="Keypoints of a folder of clips.")
    parser.add_argument("videos", type=Path, help="folder of <Word>/<clip>.mp4, .mov, .avi, .webm, .mkv")
    parser.add_argument("--to", type=Path, required=True, help="folder for the keypoints")
    parser.add_argument("--model", type=Path, help="hand_landmarker.task; default: found, or fetched once")
    parser.add_argument("--processes", type=int, default=0, help="at a time; default 0: one per core")
    parser.add_argument("--max-empty", type=float, default=50, help="doubtful above this %% of frames without a hand")
    parser.add_argument("--preview", action="store_true", help="a contact sheet beside each")
    parser.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster; `local`: one on this machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and the progress on stderr")
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        with _sigterm_like_ctrl_c():
            model = find_hand_model(options.model, user_cache(os.environ))
            pool, at_once = _pool(options.ray, options.processes)
            with Progress(sys.stderr if options.json else sys.stdout) as progress:
                outcomes = extract(
                    options.videos,
                    options.to,
                    model,
                    processes=at_once,
                    progress=progress,
                    preview=options.preview,
                    pool=pool,
                )
    except KeyboardInterrupt:
        print("stopped; what is done stays, and the same command goes on from here", file=sys.stderr)
        return EXIT_STOPPED
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    summary = Summary(outcomes, options.max_empty / 100)
    print(summary.as_json(options.to) if options.json else summary.text(options.to))
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
