from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.splits import cost, grouped, stratified
from trainer.table import SPLITS

PEOPLE = st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3).filter(any), min_size=2, max_size=6)
"""How many sequences of three words each signer made."""


def unroll(people: list[list[int]]) -> tuple[list[str], list[str]]:
    """A label and a signer per sequence."""
    pairs = [
        (f"w{word}", f"p{person}")
        for person, counts in enumerate(people)
        for word, count in enumerate(counts)
        for _ in range(count)
    ]
    return [label for label, _ in pairs], [signer for _, signer in pairs]


def by_label(labels: list[str], splits: list[str]) -> dict[str, list[int]]:
    counted = Counter(zip(labels, splits, strict=True))
    return {label: [counted[label, split] for split in SPLITS] for label in sorted(set(labels))}


def random_split(labels: list[str], seed: int = 0) -> list[str]:
    return stratified(labels, [str(number) for number in range(len(labels))], [""] * len(labels), seed)


@pytest.mark.parametrize("number", [5, 10, 55, 100])
def test_sixty_twenty_twenty_of_every_label(number: int) -> None:
    labels = ["a"] * number + ["b"] * 2 * number
    shares = by_label(labels, random_split(labels))
    assert shares == {label: [n * 3 // 5, n // 5, n // 5] for label, n in (("a", number), ("b", 2 * number))}


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_few_examples_go_to_train_first(number: int) -> None:
    for seed in range(20):
        train, val, test = by_label(["a"] * number, random_split(["a"] * number, seed))["a"]
        assert train >= max(1, number // 2)
        assert abs(val - test) <= 1


def test_val_and_test_share_what_does_not_divide() -> None:
    labels = [f"w{number}" for number in range(200) for _ in range(2)]
    train, val, test = map(sum, zip(*by_label(labels, random_split(labels)).values(), strict=True))
    assert train == 200
    assert min(val, test) > 70


def test_same_seed_same_split_and_other_labels_do_not_matter() -> None:
    few, many = ["a"] * 30, ["a"] * 30 + ["b"] * 30
    assert random_split(few) == random_split(few) == random_split(many)[:30]
    assert random_split(few, 1) != random_split(few)


def test_copies_stay_together() -> None:
    groups = [str(number // 3) for number in range(90)]
    splits = stratified(["a"] * 45 + ["b"] * 45, groups, [""] * 90, 0)
    assert len(set(zip(groups, splits, strict=True))) == 30
    assert set(splits) == set(SPLITS)


@given(st.lists(st.sampled_from(["", *SPLITS]), min_size=1, max_size=60), st.integers(0, 3))
def test_what_is_in_a_split_stays(fixed: list[str], seed: int) -> None:
    names = [str(number) for number in range(len(fixed))]
    for splits in (
        stratified(["a"] * len(fixed), names, fixed, seed),
        grouped(["a"] * len(fixed), [str(number % 7) for number in range(len(fixed))], fixed, seed),
    ):
        assert all(old in ("", new) for old, new in zip(fixed, splits, strict=True))
        assert set(splits) <= set(SPLITS)


def test_what_is_added_evens_out() -> None:
    labels, fixed = ["a"] * 100, ["train"] * 50 + [""] * 50
    names = [str(number) for number in range(100)]
    assert by_label(labels, stratified(labels, names, fixed, 0))["a"] == [60, 20, 20]


@given(PEOPLE, st.integers(0, 3))
@example([[2, 0, 1], [2, 1, 0], [3, 3, 1], [2, 2, 0], [2, 3, 0]], 2)  # at which all climbs end short of the best
@settings(max_examples=60, deadline=None)
def test_nobody_in_two_splits_and_no_better_way(people: list[list[int]], seed: int) -> None:
    labels, signers = unroll(people)
    splits = grouped(labels, signers, [""] * len(labels), seed)
    places = defaultdict(set)
    for signer, split in zip(signers, splits, strict=True):
        places[signer].add(split)
    assert all(len(splits) == 1 for splits in places.values())

    counts = np.array(people, float)[:, np.any(people, axis=0)]
    chosen = [SPLITS.index(next(iter(places[f"p{person}"]))) for person in range(len(people))]

    def price(answer: tuple[int, ...] | list[int]) -> float:
        return cost(np.stack([counts[np.array(answer) == split].sum(axis=0) for split in range(3)]))

    best = min(price(answer) for answer in itertools.product(range(3), repeat=len(people)))
    assert price(chosen) <= best + 1e-6


def test_twenty_even_signers_are_parted_exactly() -> None:
    labels, signers = unroll([[4, 4, 4]] * 20)
    splits = grouped(labels, signers, [""] * len(labels), 0)
    assert by_label(labels, splits) == {label: [48, 16, 16] for label in ("w0", "w1", "w2")}
    assert grouped(labels, signers, [""] * len(labels), 0) == splits


def test_many_uneven_sessions_come_close() -> None:
    random = np.random.default_rng(0)
    labels, sessions = unroll(random.integers(0, 8, (300, 12)).tolist())
    shares = by_label(labels, grouped(labels, sessions, [""] * len(labels), 0))
    for train, val, test in shares.values():
        total = train + val + test
        assert abs(train / total - 0.6) < 0.03
        assert abs(val / total - 0.2) < 0.03


def test_the_only_signer_of_a_word_trains() -> None:
    labels, signers = unroll([[9, 9, 0], [5, 5, 5], [8, 8, 0]])
    splits = grouped(labels, signers, [""] * len(labels), 0)
    assert {split for signer, split in zip(signers, splits, strict=True) if signer == "p1"} == {"train"}
    assert set(splits) == set(SPLITS)


def test_two_signers_train_and_test() -> None:
    labels, signers = unroll([[9, 9, 9], [3, 3, 3]])
    splits = grouped(labels, signers, [""] * len(labels), 0)
    assert set(zip(signers, splits, strict=True)) == {("p0", "train"), ("p1", "test")}


def test_a_known_signer_goes_where_most_of_them_is() -> None:
    signers = ["x"] * 5 + ["y"] * 3
    fixed = ["test", "test", "train", "", "", "train", "", ""]
    splits = grouped(["a"] * 8, signers, fixed, 0)
    assert splits == ["test", "test", "train", "test", "test", "train", "train", "train"]
