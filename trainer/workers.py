"""Jobs in processes of their own. Enters: a function and its tasks. Leaves: results as they come.

A native library may crash on a hostile file and take its process along: only that task is lost, and
another process takes over. Processes see no Ctrl-C and have no TensorFlow, which MediaPipe would
otherwise load (8 s, 800 MiB each) and not need.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Crash:
    """A job that ended its process, or failed in a way it did not foresee."""

    why: str


@dataclass
class _Worker(Generic[Task]):
    process: SpawnProcess
    task: Task


def run_jobs(
    job: Callable[[Task], Result], tasks: Iterable[Task], processes: int
) -> Generator[tuple[Task, Result | Crash], None, None]:
    """Yield each task with its result, in the order they finish. Closing the iterator ends the processes.

    `job`, tasks and results are pickled.
    """
    waiting = deque(tasks)
    workers: dict[Connection, _Worker[Task]] = {}
    ending: list[SpawnProcess] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                connection, process = _start(job)
                workers[connection] = _Worker(process, waiting.popleft())
                _send(connection, workers[connection].task)
            for connection in [ready for ready in wait(list(workers)) if isinstance(ready, Connection)]:
                worker = workers[connection]
                task = worker.task
                try:
                    result: Result | Crash = connection.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    result = Crash(f"its process ended with {worker.process.exitcode}")
                    del workers[connection]
                    connection.close()
                else:
                    if waiting:
                        worker.task = waiting.popleft()
                        _send(connection, worker.task)
                    else:
                        del workers[connection]
                        connection.close()
                        ending.append(worker.process)
                yield task, result
    finally:
        for connection, worker in workers.items():
            worker.process.terminate()
            connection.close()
            ending.append(worker.process)
        for process in ending:
            process.join()


def cores() -> int:
    """Those this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _send(connection: Connection, task: Any) -> None:
    with suppress(OSError):  # it has just died; recv will say so
        connection.send(task)


def _start(job: Callable[[Any], Any]) -> tuple[Connection, SpawnProcess]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, job), daemon=True)
    # Blocked signals stay blocked in the new process; ours are only late. The tracker, when it starts, unblocks them.
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
    return ours, process


def _serve(connection: Connection, job: Callable[[Any], Any]) -> None:
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = job(task)
        except Exception:
            result = Crash(traceback.format_exc())
        try:
            connection.send(result)
        except OSError:
            return
