from __future__ import annotations

import math
import multiprocessing
import os
import platform
import sys
import time
from contextlib import closing

from trainer.workers import Crash, run_jobs


def test_every_task_gets_its_result() -> None:
    with closing(run_jobs(math.factorial, range(20), 3)) as answers:
        assert dict(answers) == {number: math.factorial(number) for number in range(20)}
    assert not multiprocessing.active_children()


def test_a_process_that_dies_takes_one_task_along() -> None:
    tasks = ["1 + 1", "__import__('os').abort()", "2 + 2", "__import__('os')._exit(3)", "3 + 3"]
    with closing(run_jobs(eval, tasks, 2)) as answers:
        found = dict(answers)
    assert [found[task] for task in tasks[::2]] == [2, 4, 6]
    assert found[tasks[1]] == Crash("its process ended with -6")
    assert found[tasks[3]] == Crash("its process ended with 3")


def test_what_a_job_did_not_foresee_is_told() -> None:
    with closing(run_jobs(math.factorial, [-1, 3], 1)) as answers:
        found = dict(answers)
    crash = found[-1]
    assert isinstance(crash, Crash)
    assert crash.why.strip().endswith("factorial() not defined for negative values")
    assert found[3] == 6


def test_no_process_when_there_is_nothing_to_do() -> None:
    assert list(run_jobs(platform.node, [], 4)) == []


def test_leaving_early_ends_the_processes() -> None:
    began = time.monotonic()
    answers = run_jobs(time.sleep, [0, 600, 600], 2)
    assert next(answers) == (0, None)
    answers.close()
    assert not multiprocessing.active_children()
    assert time.monotonic() - began < 60


def test_workers_have_no_tensorflow() -> None:
    task = "__import__('sys').modules.get('tensorflow', 'could be imported')"
    assert list(run_jobs(eval, [task], 1)) == [(task, None)]
    assert sys.modules.get("tensorflow", os) is not None
