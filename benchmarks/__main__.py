"""`make bench`, or `python -m benchmarks [NAME…]`: every benchmark in turn, results to results/bench/.

What has a result already is not run again, so that a run cut short by Ctrl-C goes on where it was; `--again` does.
A benchmark that fails, hangs or does not exist is said on the page, and the next one follows.
"""

from __future__ import annotations

import argparse
import ast
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmarks import page
from benchmarks.result import FOLDER, Result

HERE = Path(__file__).parent
ENDING_SECONDS = 20


@dataclass(frozen=True)
class Benchmark:
    name: str
    """Of its file."""
    minutes: float
    """It may take, and what those before it left of theirs; together half an hour."""
    arguments: tuple[str, ...] = ()


ALL = (
    Benchmark("commands", 1.8),
    Benchmark("payload", 0.9),
    Benchmark("start", 5.2, ("--pairs", "1")),
    Benchmark("recovery", 2.8),
    Benchmark("notice", 1.3),
    Benchmark("checkpoint_overhead", 3.5, ("--pairs", "5", "--interval", "10")),
    Benchmark("sync", 2.8, ("--pairs", "1")),
    Benchmark("fetch", 4.0, ("--pairs", "1")),
    Benchmark("growth", 2.7),
    Benchmark("extraction", 2.7, ("../shared/data/videos", "--pairs", "2")),
    Benchmark("prediction", 0.8),
    Benchmark("training", 1.4, ("--pairs", "5", "--memory")),
)
"""With as many pairs as a slow machine has time for; the page's own are made with more, and say how many."""


def summary(file: Path) -> str:
    """The first paragraph of a module's docstring; empty where there is no module."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) if file.is_file() else None
    return " ".join((text or "").partition("\n\n")[0].split())


def measured(file: Path) -> bool:
    try:
        return not Result.model_validate_json(file.read_bytes()).skipped
    except (OSError, ValidationError):
        return False


def run(benchmark: Benchmark, minutes: float, target: Path, room: Path) -> str:
    """Run one benchmark of the package `room`, so long at most; returns why it left no result, or nothing."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *benchmark.arguments, "--json", str(target)]
    process = subprocess.Popen(command, cwd=room.parent, start_new_session=True)
    try:
        code = process.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        return f"it was not done after {minutes:.3g} minutes"
    finally:
        end(process)
    return f"it exited with {code}" if code else "" if target.is_file() else "it left no result"


def end(process: subprocess.Popen[bytes]) -> None:
    """It and all that it started, first politely."""
    for how in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(ENDING_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def run_all(benchmarks: tuple[Benchmark, ...], folder: Path, *, again: bool, room: Path = HERE) -> None:
    spare = 0.0
    for number, benchmark in enumerate(benchmarks, 1):
        target = folder / f"{benchmark.name}.json"
        said = f"[{number} of {len(benchmarks)}] {benchmark.name}"
        if measured(target) and not again:
            print(f"{said}: {target} is there (--again measures it again)", flush=True)
            continue
        minutes = benchmark.minutes + spare
        print(f"{said}: {minutes:.3g} minutes at most", flush=True)
        began, what = time.monotonic(), summary(room / f"{benchmark.name}.py")
        target.unlink(missing_ok=True)
        why = run(benchmark, minutes, target.resolve(), room) if what else "there is no such benchmark"
        spare = max(0.0, minutes - (time.monotonic() - began) / 60)
        if why:
            Result(name=benchmark.name, what=what, how="", skipped=why).write(target)
        print(f"{said}: {why or f'{time.monotonic() - began:.0f} s'}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [benchmark.name for benchmark in ALL]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; without: all")
    parser.add_argument("--again", action="store_true", help="also what has a result")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = tuple(benchmark for benchmark in ALL if not options.names or benchmark.name in options.names)
    try:
        run_all(chosen, FOLDER, again=options.again)
    except KeyboardInterrupt:
        print("\ncut short: the same command goes on from here", file=sys.stderr)
        return 130
    page.write(FOLDER, names)
    print(f"written: {page.PAGE} and {page.PLOT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
