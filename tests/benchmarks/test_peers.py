from __future__ import annotations

import os

from benchmarks.pairs import Cost
from benchmarks.peers import Measured, least_seconds, rows


def measured(seconds: float, cpu: float, server: float, serial: float) -> Measured:
    return Measured(Cost(seconds, cpu, 50), 3, 1e6, server, serial)


def test_the_least_is_what_must_come_one_after_the_other_or_all_work_on_all_processors() -> None:
    cores = len(os.sched_getaffinity(0))
    turn = (measured(4, 2 * cores, cores, 1.5), measured(5, 3 * cores, 2 * cores, 1))
    assert least_seconds(0.5, turn) == 3, "the leanest client's work and the leanest service, shared out"
    assert least_seconds(2.5, turn) == 3.5, "the start, and the one thread that answers"


def test_only_the_time_has_a_least_and_each_pair_its_own() -> None:
    found = {
        "ours": {"one file": [measured(4, 0.5, 0.5, 1), measured(6, 0.5, 0.5, 2)]},
        "theirs": {"one file": [measured(5, 0.5, 0.5, 3), measured(5, 0.5, 0.5, 1)]},
    }
    made = {row.measure: row for row in rows(found, {}, starts=[1, 2])}
    assert made["one file: time"].least == (2, 3)
    assert all(not row.least for name, row in made.items() if not name.endswith(": time"))
    assert made["one file: time"].ratio is not None and made["one file: time"].theirs == (5, 5)
