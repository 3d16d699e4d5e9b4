from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.ray_scale import Fleet, simulate, table

QUIET = Fleet(
    boxes=1, slots=2, boot_seconds=100, up_seconds=1e12, down_seconds=60, hand_out_seconds=0, checkpoint_seconds=0
)
"""Of which no box is taken away."""


@pytest.mark.parametrize(("boxes", "seconds"), [(1, 100 + 40 * 10 / 2), (4, 100 + 40 * 10 / 8), (64, 100 + 10)])
def test_without_losses_it_is_boot_and_work_shared(boxes: int, seconds: float) -> None:
    found = simulate([10.0] * 40, replace(QUIET, boxes=boxes), 0)
    assert found.seconds == pytest.approx(seconds)
    assert found.box_seconds == pytest.approx(boxes * seconds)
    assert (found.redone_seconds, found.lost) == (0, 0)


def test_a_slow_head_is_the_limit() -> None:
    found = simulate([10.0] * 400, replace(QUIET, boxes=64, hand_out_seconds=1.0), 0)
    assert found.seconds == pytest.approx(100 + 399 + 10)
    assert found.waited_seconds > 0


@pytest.mark.parametrize("checkpoint_seconds", [0, 30])
def test_what_a_lost_box_had_in_hand_is_done_again(checkpoint_seconds: float) -> None:
    fleet = replace(QUIET, boxes=3, up_seconds=2000, checkpoint_seconds=checkpoint_seconds)
    tasks = [500.0] * 30
    found = [simulate(tasks, fleet, seed) for seed in range(10)]
    assert all(one.lost > 0 for one in found)
    for one in found:
        assert one.seconds >= 100 + sum(tasks) / 6
        assert one.box_seconds * 2 >= sum(tasks) + one.redone_seconds
    most = 2 * checkpoint_seconds if checkpoint_seconds else 2 * 500
    assert all(0 < one.redone_seconds <= one.lost * most for one in found)


def test_the_same_seed_gives_the_same_numbers() -> None:
    fleet = replace(QUIET, up_seconds=3600)
    assert simulate([100.0] * 50, fleet, 1) == simulate([100.0] * 50, fleet, 1)
    assert table([[100.0] * 50] * 3, fleet) == table([[100.0] * 50] * 3, fleet)
