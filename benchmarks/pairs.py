"""Ours and theirs, run in turn on the same machine, and what a process costs while it runs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.result import FOLDER

T = TypeVar("T")

WAIT = """
import json, os, subprocess, sys, time
began = time.monotonic()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
seconds = time.monotonic() - began
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""
"""Run in a small process: a child begins with the peak memory of the one that starts it (execve keeps it)."""


@dataclass(frozen=True)
class Cost:
    """What a process and all children it waited for took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    """Of the largest of them: getrusage(2), ru_maxrss."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> Cost:
    """Run a command to its end and measure it. Raises RuntimeError with its last words when it exits with another code
    than 0, and subprocess.TimeoutExpired after `timeout` seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        wrapped = [sys.executable, "-I", "-S", "-c", WAIT, str(answer), *map(str, command)]
        with Path(folder, "output").open("w+b") as output:
            subprocess.run(
                wrapped, cwd=cwd, env=dict(os.environ if env is None else env), check=True, timeout=timeout,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            code, seconds, cpu_seconds, peak_kib = json.loads(answer.read_text())
            if code:
                output.seek(0)
                tail = output.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"{' '.join(map(str, command))} exited with {code}:\n{tail}")
    return Cost(seconds, cpu_seconds, peak_kib / 1024)


def rounds(sides: Mapping[str, Callable[[], T]], number: int = 5) -> dict[str, list[T]]:
    """What each side returned, by its name: each `number` times, in turn. Every other round goes backwards, so that
    nobody always finds the machine warm.
    """
    found: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(number):
        for name in sides if turn % 2 == 0 else reversed(list(sides)):
            began = time.monotonic()
            found[name].append(sides[name]())
            said = f"round {turn + 1} of {number}, {name}: {time.monotonic() - began:.1f} s"
            print(said, file=sys.stderr, flush=True)
    return found


def pairs(ours: Callable[[], T], theirs: Callable[[], T], number: int = 5) -> tuple[list[T], list[T]]:
    """Rounds of two."""
    found = rounds({"ours": ours, "theirs": theirs}, number)
    return found["ours"], found["theirs"]


def arguments(name: str, description: str | None, number: int = 5) -> argparse.ArgumentParser:
    """The options that every benchmark has: how many pairs, and where its Result goes.

    Whatever this process was told, what it starts keeps its bytecode, as a user's programs do: without, awscli and
    `cdk synth` start by compiling all that they import, each time.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=number, help="runs of each side (default %(default)s)")
    parser.add_argument("--json", type=Path, default=FOLDER / f"{name}.json", help="default %(default)s")
    return parser


@contextmanager
def one_core() -> Iterator[None]:
    """This process, and those that it starts meanwhile, share one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
