"""Words over time. Enters: the keypoints of a longer video. Leaves: stretches of time, each a word, unknown or no sign.

Windows of many lengths slide over the video, and the model says of each what it is. Then the video is cut up at once,
so that the pieces are as likely as can be (dynamic programming over a hidden semi-Markov model; docs/prediction.md
says whose idea it is, and what simpler ways gave). A word costs the logarithm of its probability, and more
the further it is from the usual length. "Unknown" costs that of the model's threshold, "no sign" nothing where no
hand is; each of the two costs something to begin, so that a flicker is none. Neighbours of one word are one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from contract.errors import ConfigError
from trainer.keypoints import Keypoints
from trainer.nonsense import NOTHING
from trainer.recognise import Recogniser, Verdict

WINDOW, STRIDE = 1.0, 0.1
"""Seconds: the usual length of a sign, and the steps in which pieces begin and end."""
SHORTEST, LONGEST = 0.4, 2.0
"""Lengths of the windows, in usual ones."""
SPREAD = 0.5
"""Of the logarithm of a sign's length: a third of the signs are longer than 1.65 usual ones, or shorter than 0.6."""
FLOOR = math.log(0.05)
"""Nothing is less likely than this; what a usual length without hands costs a word."""
BEGIN = -0.3 * FLOOR
"""Of "no sign" and of "unknown": three tenths of a usual length without a hand are no pause."""
DOUBT = 0.5
"""What a usual length of "unknown" costs on top: near the threshold a word is preferred while it lasts."""
BATCH = 64
"""Windows that are looked at together."""


@dataclass(frozen=True)
class Stretch:
    start: float
    """Seconds from the beginning."""
    end: float
    verdict: Verdict
    word: str | None
    """None unless the verdict is "word"."""
    confidence: float | None
    """The word's probability in this stretch; None where there is none."""


@dataclass(frozen=True)
class Sliding:
    """Windows around `window` seconds that move on by `stride` seconds."""

    window: float = WINDOW
    stride: float = STRIDE

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window < math.inf:
            raise ConfigError(
                f"a window of {self.window:g} s cannot move by {self.stride:g} s",
                mend="give --window and --stride in seconds, the stride above 0 and not above the window",
            )

    @property
    def lengths(self) -> range:
        """Of the windows, in strides."""
        usual = self.window / self.stride
        return range(max(1, round(SHORTEST * usual)), max(1, round(LONGEST * usual)) + 1)


@dataclass(frozen=True)
class Looks:
    """What the model says of every window; row k are those that end with stride k, a column for each length."""

    word: NDArray[np.int32]
    """(strides, lengths): the likeliest word."""
    probability: NDArray[np.float32]
    """(strides, lengths): its probability; 0 where the window would begin before the video, or has no hand."""
    hand: NDArray[np.bool_]
    """(strides,): whether a hand is seen in the stride."""


def timeline(
    keypoints: Keypoints, frames_per_second: float, recogniser: Recogniser, sliding: Sliding
) -> tuple[Stretch, ...]:
    """Stretches that follow one another from the first frame to the last; (frames, 2, 21, 3) enter."""
    step = max(1, round(sliding.stride * frames_per_second))
    stride = step / frames_per_second
    sliding = Sliding(max(sliding.window, stride), stride)
    bounds = [*range(0, len(keypoints), step), len(keypoints)]
    seconds = [bound / frames_per_second for bound in bounds]
    if len(bounds) - 1 <= sliding.lengths[0]:
        answer = recogniser.answer(keypoints)
        return (Stretch(0.0, seconds[-1], answer.verdict, answer.word, answer.confidence if answer.word else None),)
    strides = len(bounds) - 1
    looks = Looks(
        np.zeros((strides, len(sliding.lengths)), np.int32),
        np.zeros((strides, len(sliding.lengths)), np.float32),
        np.array([keypoints[start:end].any() for start, end in pairwise(bounds)]),
    )
    for column, length in enumerate(sliding.lengths):
        for first in range(length, strides + 1, BATCH):
            ends = range(first, min(first + BATCH, strides + 1))
            windows = [keypoints[bounds[end - length] : bounds[end]] for end in ends]
            rows = slice(ends[0] - 1, ends[-1])
            looks.word[rows, column], looks.probability[rows, column] = look(windows, recogniser)
    return tuple(stretches(looks, seconds, recogniser, sliding))


def look(windows: Sequence[Keypoints], recogniser: Recogniser) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The likeliest word of each window and its probability, 0 where there is no hand."""
    words, probabilities = np.zeros(len(windows), np.int32), np.zeros(len(windows), np.float32)
    seen = [index for index, window in enumerate(windows) if window.any()]
    if seen:
        found = recogniser.probabilities([windows[index] for index in seen])
        words[seen], probabilities[seen] = found.argmax(axis=1), found.max(axis=1)
    return words, probabilities


def stretches(looks: Looks, bounds: Sequence[float], recogniser: Recogniser, sliding: Sliding) -> list[Stretch]:
    """The likeliest pieces; stride k lasts from `bounds[k]` to `bounds[k + 1]`."""
    pieces = []
    for begin, end, name, probability in cut(looks, recogniser.unknown_below, sliding):
        verdict: Verdict = "word"
        if isinstance(name, str):
            verdict = "no sign" if name == NO_SIGN else "unknown"
        elif probability < recogniser.unknown_below:
            verdict = "unknown"
        elif recogniser.labels[name] == NOTHING:
            verdict = "no sign"
        word = recogniser.labels[name] if verdict == "word" and not isinstance(name, str) else None
        pieces.append(Stretch(bounds[begin], bounds[end], verdict, word, probability if word else None))
    return [_merge(list(group)) for _, group in groupby(pieces, key=lambda piece: (piece.verdict, piece.word))]


def _merge(pieces: list[Stretch]) -> Stretch:
    confidence = None
    if pieces[0].confidence is not None:
        lengths = [piece.end - piece.start for piece in pieces]
        confidence = float(np.average([piece.confidence or 0.0 for piece in pieces], weights=lengths))
    return replace(pieces[0], end=pieces[-1].end, confidence=confidence)


UNKNOWN, NO_SIGN = "unknown", "no sign"
Piece = tuple[int, int, int | str, float]
"""First stride, the one after the last, the word's number or UNKNOWN or NO_SIGN, the word's probability or 0."""


def cut(looks: Looks, unknown_below: float, sliding: Sliding) -> list[Piece]:
    """The cheapest pieces that cover all strides, in order."""
    strides, usual = len(looks.hand), sliding.window / sliding.stride
    lengths = np.array(sliding.lengths)
    odd = np.log(lengths / usual) ** 2 / (2 * SPREAD**2)
    hands = np.concatenate([[0], looks.hand.cumsum()])
    unknown = (DOUBT - max(math.log(unknown_below) if unknown_below else FLOOR, FLOOR)) / usual
    nothing = -FLOOR / usual
    cost, came_from = np.zeros(strides + 1), []
    fillers = {UNKNOWN: (math.inf, 0), NO_SIGN: (math.inf, 0)}
    """What each costs up to here, and where it began."""
    for end in range(1, strides + 1):
        hand = bool(looks.hand[end - 1])
        for name, step in ((UNKNOWN, unknown if hand else nothing), (NO_SIGN, nothing if hand else 0.0)):
            begun = (cost[end - 1] + BEGIN, end - 1)
            fillers[name] = min(fillers[name], begun)
            fillers[name] = (fillers[name][0] + step, fillers[name][1])
        name = min(fillers, key=lambda each: fillers[each][0])
        cost[end], began = fillers[name]
        piece: Piece = (began, end, name, 0.0)
        fits = lengths[: np.searchsorted(lengths, end, "right")]
        if fits.size:
            probability = looks.probability[end - 1, : fits.size]
            inside = hands[end] - hands[end - fits]
            costs = cost[end - fits] + odd[: fits.size] + (fits - inside) * nothing
            costs -= np.maximum(np.log(np.maximum(probability, 1e-9)), FLOOR) * inside / usual
            costs[probability == 0] = math.inf
            best = int(costs.argmin())
            if costs[best] < cost[end]:
                cost[end] = costs[best]
                number = int(looks.word[end - 1, best])
                piece = (end - int(fits[best]), end, number, float(probability[best]))
        came_from.append(piece)
    pieces: list[Piece] = []
    end = strides
    while end:
        pieces.append(came_from[end - 1])
        end = pieces[-1][0]
    return pieces[::-1]
