from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.timeline import RATE, errors, in_a_row
from contract.errors import ConfigError
from tests.trainer.models_for_tests import WORDS, Reader, hand_of
from trainer.keypoints import Keypoints
from trainer.recognise import NOTHING, ModelFolder
from trainer.timeline import BEGIN, DOUBT, FLOOR, SPREAD, Looks, Sliding, Stretch, cut, timeline

UNKNOWN = 7
"""A word that no reader knows."""


def signed(*script: tuple[float, int | None]) -> Keypoints:
    """For so many seconds this word; None: no hand."""
    none = np.zeros((1, 2, 21, 3), np.float32)
    return np.concatenate(
        [np.repeat(none if word is None else hand_of(word), round(seconds * RATE), axis=0) for seconds, word in script]
    )


def read(keypoints: Keypoints, reader: Reader | None = None) -> list[tuple[float, float, str]]:
    found = timeline(keypoints, RATE, reader or Reader(), Sliding(1.0, 0.1))
    assert found[0].start == 0
    assert found[-1].end == pytest.approx(len(keypoints) / RATE)
    assert all(before.end == after.start for before, after in pairwise(found))
    assert all((each.word is None) == (each.confidence is None) == (each.verdict != "word") for each in found)
    return [(each.start, each.end, each.word or each.verdict) for each in found]


def test_words_unknown_and_no_sign_with_their_times() -> None:
    found = read(signed((1, None), (1.5, 0), (2, 1), (1.5, UNKNOWN), (1, 2), (0.7, None)))
    assert [name for _, _, name in found] == ["no sign", WORDS[0], WORDS[1], "unknown", WORDS[2], "no sign"]
    ends = [end for _, end, _ in found]
    assert ends == pytest.approx([1, 2.5, 4.5, 6, 7, 7.7], abs=0.15)


def test_the_same_word_twice_needs_a_pause() -> None:
    assert [name for *_, name in read(signed((1, 0), (0.16, None), (1, 0)))] == [WORDS[0]]
    assert [name for *_, name in read(signed((1, 0), (0.6, None), (1, 0)))] == [WORDS[0], "no sign", WORDS[0]]


def test_what_is_too_short_does_not_count() -> None:
    assert [name for *_, name in read(signed((2, 0), (0.3, 1), (2, 0)))] == [WORDS[0]]
    assert [name for *_, name in read(signed((2, 0), (0.8, 1), (2, 0)))] == [WORDS[0], WORDS[1], WORDS[0]]


def test_a_label_for_nothing_is_no_sign() -> None:
    found = read(signed((1, 0), (1, 1)), Reader(labels=("tea", NOTHING)))
    assert [name for *_, name in found] == ["tea", "no sign"]


@pytest.mark.parametrize("frames", [1, 2, 13])
def test_shorter_than_the_window(frames: int) -> None:
    assert [name for *_, name in read(np.repeat(hand_of(2), frames, axis=0))] == [WORDS[2]]


@pytest.mark.parametrize(("window", "stride"), [(0.0, 0.1), (1.0, 0.0), (0.5, 0.6), (1.0, -1.0), (float("nan"), 0.1)])
def test_windows_that_make_no_sense(window: float, stride: float) -> None:
    with pytest.raises(ConfigError, match="cannot move"):
        Sliding(window, stride)


def every_cut(strides: int) -> list[list[int]]:
    """All ways to put bounds between the strides."""
    inner = [[place for place in range(1, strides) if which >> place & 1] for which in range(0, 2**strides, 2)]
    return [[0, *places, strides] for places in inner]


def cost_of(looks: Looks, unknown_below: float, sliding: Sliding, begin: int, end: int) -> float:
    """Of the cheapest thing that the strides can be as one piece, said again in other words."""
    usual, hands = sliding.window / sliding.stride, looks.hand[begin:end]
    without = -FLOOR * np.count_nonzero(~hands) / usual
    unknown = BEGIN + without + np.count_nonzero(hands) * (DOUBT - math.log(unknown_below)) / usual
    nothing = BEGIN - FLOOR * np.count_nonzero(hands) / usual
    if end - begin not in sliding.lengths:
        return min(unknown, nothing)
    probability = looks.probability[end - 1, list(sliding.lengths).index(end - begin)]
    odd = math.log((end - begin) / usual) ** 2 / (2 * SPREAD**2)
    word = odd + without - max(math.log(probability), FLOOR) * np.count_nonzero(hands) / usual
    return min(unknown, nothing, word)


@pytest.mark.parametrize("seed", range(12))
def test_no_way_to_cut_is_cheaper(seed: int) -> None:
    random, strides, sliding = np.random.default_rng(seed), 8, Sliding(1.0, 0.3)
    shape = (strides, len(sliding.lengths))
    looks = Looks(
        random.integers(0, 3, shape, np.int32),
        random.uniform(0.01, 1, shape).astype(np.float32),
        random.random(strides) < 0.7,
    )
    costs = {
        tuple(bounds): sum(cost_of(looks, 0.6, sliding, *piece) for piece in pairwise(bounds))
        for bounds in every_cut(strides)
    }
    pieces = cut(looks, 0.6, sliding)
    chosen = (0, *(end for _, end, *_ in pieces))
    assert costs[chosen] == pytest.approx(min(costs.values()))


def test_memory_is_that_of_the_keypoints() -> None:
    """Three minutes; what is on top of the keypoints is a fraction of them."""
    frames = 4_500
    keypoints = np.lib.stride_tricks.as_strided(hand_of(0), (frames, 2, 21, 3), (0, *hand_of(0).strides[1:]))
    tracemalloc.start()
    found = timeline(keypoints, RATE, Reader(), Sliding(1.0, 0.2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.word for each in found] == [WORDS[0]]
    assert peak < frames * 504 / 3


def test_sample_sequences_in_a_row(model_dir: Path, small_sample: Path) -> None:
    """The test split's, half a second without hands after each."""
    keypoints, truth = in_a_row(small_sample, "test", 0.5)
    accuracy, boundary = errors(timeline(keypoints, RATE, ModelFolder.read(model_dir).load(), Sliding()), truth)
    assert accuracy >= 0.8
    assert boundary <= 0.1


def test_what_is_measured() -> None:
    def stretch(start: float, end: float, word: str | None) -> Stretch:
        return Stretch(start, end, "word" if word else "no sign", word, None)

    truth = [(1.0, "tea"), (2.0, "milk"), (3.0, "tea")]
    right = [stretch(0, 1, "tea"), stretch(1, 2, "milk"), stretch(2, 2.9, "tea"), stretch(2.9, 3, None)]
    assert errors(right, truth) == (1, 0)
    late_and_one_missing = [stretch(0, 1.2, "tea"), stretch(1.2, 3, "tea")]
    assert errors(late_and_one_missing, truth) == pytest.approx((2 / 3, (0.2 + 0.8) / 2))
    assert errors([stretch(0, 3, "can")], truth[:1] * 2)[0] == 0
