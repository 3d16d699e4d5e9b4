from __future__ import annotations

from functools import partial

from benchmarks.pairs import Cost
from benchmarks.peers import Measured, in_turn, rows


def measured(seconds: float) -> Measured:
    return Measured(Cost(seconds, 0.5, 50), 3, 1_000_000, 0.5)


def test_only_the_time_has_a_least_the_quickest_of_its_turn_but_for_the_peer() -> None:
    found = {
        "ours": {"one file": [measured(4), measured(6)], "nothing new": [measured(1), measured(1)]},
        "theirs": {"one file": [measured(5), measured(5)], "nothing new": [measured(1), measured(1)]},
    }
    made = {row.measure: row for row in rows(found, {}, {"one file": [2, 7]})}
    assert made["one file: time"].least == (2, 6)
    assert all(not row.least for name, row in made.items() if name != "one file: time")
    assert made["one file: time"].ratio is not None and made["one file: time"].theirs == (5, 5)


def test_nobody_always_begins_and_nobody_always_comes_after_the_same_one() -> None:
    told: list[str] = []
    in_turn({name: partial(told.append, name) for name in "abc"}, 6)
    turns = ["".join(told[begin : begin + 3]) for begin in range(0, 18, 3)]
    assert turns == ["abc", "cba", "bca", "acb", "cab", "bac"]
