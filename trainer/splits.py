"""Who trains, who validates, who tests. Enters: labels and groups of sequences. Leaves: a split for each.

Both ways aim at 60/20/20 of every label, keep what is in a split already, and give the same answer
for the same seed. `stratified` deals out a label's sequences at random; `grouped` moves whole groups
(signers, sessions), so that nobody is in two splits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from trainer.table import SPLITS

Counts = NDArray[np.float64]

SHARES = np.array([0.6, 0.2, 0.2])
"""Of train, val and test."""

STARTS = 12
"""Random beginnings of the search for a grouped split; the best result counts."""
ALL_PAIRS = 40
"""Up to so many groups every swap of two is tried; with more, moves of one are fine enough."""

ALL_ANSWERS = 7
"""Up to so many groups every answer is looked at, besides: a climb can end short of the best."""

EMPTY, UNTRAINED, UNSEEN = 1000.0, 10.0, 0.5
"""What an empty split costs, a label that is never in train, a label missing from val or test; against an
imbalance that costs 3.2 at most."""


def stratified(labels: Sequence[str], groups: Sequence[str], fixed: Sequence[str], seed: int) -> list[str]:
    """A split per sequence, at random within each label.

    A label of one goes to train, of two to train and one other, of five to all. Sequences of one group (the
    same content twice) stay together. `fixed` holds the split a sequence is in already, else "". What
    happens to one label does not depend on the others.
    """
    chosen = {group: split for group, split in zip(groups, fixed, strict=True) if split}
    members: dict[str, Counter[str]] = defaultdict(Counter)
    deficits: dict[str, Counts] = defaultdict(lambda: np.zeros(len(SPLITS)))
    for label, group, split in zip(labels, groups, fixed, strict=True):
        deficits[label] += SHARES
        if split:
            deficits[label][SPLITS.index(split)] -= 1
        else:
            members[label][group] += 1
    for label in sorted(members):
        random = np.random.default_rng([seed, *label.encode()])
        names = sorted(members[label])
        for position in random.permutation(len(names)):
            group = names[position]
            if group not in chosen:
                chosen[group] = SPLITS[int(np.argmax(deficits[label] + random.random(len(SPLITS)) * 1e-6))]
            deficits[label][SPLITS.index(chosen[group])] -= members[label][group]
    return [split or chosen[group] for group, split in zip(groups, fixed, strict=True)]


def grouped(labels: Sequence[str], groups: Sequence[str], fixed: Sequence[str], seed: int) -> list[str]:
    """A split per sequence, the same for all of a group that is in none yet.

    In this order: no split stays empty, every label is in train, then as close to 60/20/20 in all, and of each
    label, as the groups allow. A group with sequences in a split already goes where most of them are; those
    themselves stay. Of val and test, test gets the more.
    """
    names, words = sorted(set(groups)), sorted(set(labels))
    number = {group: position for position, group in enumerate(names)}
    column = {label: position for position, label in enumerate(words)}
    counts = np.zeros((len(names), len(words)))
    taken = np.zeros((len(names), len(SPLITS)))
    for label, group, split in zip(labels, groups, fixed, strict=True):
        counts[number[group], column[label]] += 1
        if split:
            taken[number[group], SPLITS.index(split)] += 1
    pinned = np.where(taken.any(axis=1), taken.argmax(axis=1), -1)
    answer = _search(counts, pinned, seed)
    return [split or SPLITS[answer[number[group]]] for group, split in zip(groups, fixed, strict=True)]


def cost(totals: Counts) -> float:
    """How far totals (splits, labels) are from what is wanted; lower is better."""
    of_label, of_split = totals.sum(axis=0), totals.sum(axis=1)
    unbalanced = np.abs(totals - SHARES[:, None] * of_label).sum(axis=0) / of_label
    size = np.abs(of_split / of_split.sum() - SHARES).sum()
    return float(
        unbalanced.mean()
        + size
        + EMPTY * (of_split == 0).sum()
        + UNTRAINED * (totals[0] == 0).sum()
        + UNSEEN * (totals[1:] == 0).mean()
    )


def _search(counts: Counts, pinned: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """The split's index per group: the best of several climbs, or of all answers where there are few."""
    random = np.random.default_rng(seed)
    free = np.flatnonzero(pinned < 0)
    climbs = []
    for _ in range(STARTS if len(free) else 1):
        start = np.where(pinned < 0, random.choice(len(SPLITS), len(pinned), p=SHARES), pinned)
        climbs.append(_climb(counts, start, random.permutation(free)))
    if len(free) <= ALL_ANSWERS:
        for splits in product(range(len(SPLITS)), repeat=len(free)):
            answer = pinned.copy()
            answer[free] = splits
            climbs.append((cost(_totals(counts, answer)), answer))
    _, best = min(climbs, key=lambda climb: round(climb[0], 9))  # of equals a climb, which the seed has chosen
    sizes = [counts[best == split].sum() for split in range(len(SPLITS))]
    if len(free) == len(pinned) and sizes[1] > sizes[2]:
        best = np.array([0, 2, 1])[best]
    return best


def _totals(counts: Counts, answer: NDArray[np.intp]) -> Counts:
    return np.stack([counts[answer == split].sum(axis=0) for split in range(len(SPLITS))])


def _climb(counts: Counts, answer: NDArray[np.intp], free: NDArray[np.intp]) -> tuple[float, NDArray[np.intp]]:
    """Move single groups, and swap pairs, as long as that makes it better."""
    totals = _totals(counts, answer)
    lowest = cost(totals)
    steps = [(group, None) for group in free]
    if len(free) <= ALL_PAIRS:
        steps += list(combinations(free, 2))
    improved = True
    while improved:
        improved = False
        for one, other in steps:
            for splits in _alternatives(answer, one, other):
                trial = totals.copy()
                for group, split in splits:
                    trial[answer[group]] -= counts[group]
                    trial[split] += counts[group]
                if (price := cost(trial)) < lowest - 1e-9:
                    totals, lowest, improved = trial, price, True
                    for group, split in splits:
                        answer[group] = split
                    break
    return lowest, answer


def _alternatives(answer: NDArray[np.intp], one: int, other: int | None) -> list[list[tuple[int, int]]]:
    """What a step can make of the answer: (group, split) to set, for each possibility."""
    if other is None:
        return [[(one, split)] for split in range(len(SPLITS)) if split != answer[one]]
    return [[(one, int(answer[other])), (other, int(answer[one]))]] if answer[one] != answer[other] else []
