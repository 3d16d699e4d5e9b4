"""Words over time. Enters: the keypoints of a longer video. Leaves: stretches of time, each a word, unknown or no sign.

A window slides over the video; at each stop the model says how likely each word is in it. Then all stops are
labelled at once: the labels with the highest sum of probabilities, less a price for every change of label (Viterbi's
algorithm; docs/prediction.md says whose idea it is). The probability of "unknown" is the model's threshold
throughout, that of "no sign" is 1 where no hand is seen. So neighbours merge, and what is shorter than
`SHORTEST` does not pay for its two changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from contract.errors import ConfigError
from trainer.keypoints import Keypoints
from trainer.recognise import NOTHING, Recogniser, Verdict

WINDOW, STRIDE = 1.0, 0.1
"""Seconds."""
SHORTEST = 0.3
"""Seconds that a word of full confidence must last amid the unknown."""
BATCH = 64
"""Windows that are looked at together."""

Evidence = NDArray[np.float32]
"""(stops, words + 2): how likely each word is, then "unknown", then "no sign"."""


@dataclass(frozen=True)
class Stretch:
    start: float
    """Seconds from the beginning."""
    end: float
    verdict: Verdict
    word: str | None
    """None unless the verdict is "word"."""
    confidence: float | None
    """The word's mean probability; None where there is none."""


@dataclass(frozen=True)
class Sliding:
    """A window of `window` seconds that moves on by `stride` seconds."""

    window: float = WINDOW
    stride: float = STRIDE

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window:
            raise ConfigError(
                f"a window of {self.window:g} s cannot move by {self.stride:g} s",
                mend="give --window and --stride in seconds, the stride above 0 and not above the window",
            )

    @property
    def price(self) -> float:
        """Of a change of label, in stops of full confidence."""
        return SHORTEST / self.stride / 2


def timeline(
    keypoints: Keypoints, frames_per_second: float, recogniser: Recogniser, sliding: Sliding
) -> tuple[Stretch, ...]:
    """Stretches that follow one another from the first frame to the last; (frames, 2, 21, 3) enter."""
    step = max(1, round(sliding.stride * frames_per_second))
    half = max(1, round(sliding.window * frames_per_second / 2))
    stops = range(0, len(keypoints), step)
    evidence = np.zeros((len(stops), len(recogniser.labels) + 2), np.float32)
    for first in range(0, len(stops), BATCH):
        batch = stops[first : first + BATCH]
        middles = [start + step // 2 for start in batch]
        windows = [keypoints[max(0, middle - half) : middle + half] for middle in middles]
        seen = [bool(keypoints[start : start + step].any()) for start in batch]
        evidence[first : first + len(batch)] = look(windows, seen, recogniser)
    bounds = [start / frames_per_second for start in (*stops, len(keypoints))]
    return tuple(stretches(evidence, bounds, recogniser, sliding.price))


def look(windows: Sequence[Keypoints], seen: Sequence[bool], recogniser: Recogniser) -> Evidence:
    """Evidence of each window; `seen` says where a hand is in its middle."""
    evidence = np.zeros((len(windows), len(recogniser.labels) + 2), np.float32)
    looked_at = np.flatnonzero(seen)
    if looked_at.size:
        evidence[looked_at, :-2] = recogniser.probabilities([windows[index] for index in looked_at])
    evidence[:, -2] = recogniser.unknown_below
    evidence[~np.asarray(seen), -1] = 1
    if NOTHING in recogniser.labels:
        nothing = recogniser.labels.index(NOTHING)
        evidence[looked_at, -1] = evidence[looked_at, nothing]
        evidence[:, nothing] = 0
    return evidence


def stretches(evidence: Evidence, bounds: Sequence[float], recogniser: Recogniser, price: float) -> list[Stretch]:
    """Neighbouring stops of one label; stop k lasts from `bounds[k]` to `bounds[k + 1]`."""
    words, found = len(recogniser.labels), []
    # An unknown that is nearly as likely as a word makes a change worth less.
    states = label(evidence, price * (1 - recogniser.unknown_below))
    for state, group in groupby(range(len(states)), key=lambda stop: int(states[stop])):
        members = list(group)
        start, end = bounds[members[0]], bounds[members[-1] + 1]
        if state < words:
            confidence = float(evidence[members, state].mean())
            found.append(Stretch(start, end, "word", recogniser.labels[state], confidence))
        else:
            found.append(Stretch(start, end, "unknown" if state == words else "no sign", None, None))
    return found


def label(evidence: Evidence, price: float) -> NDArray[np.int64]:
    """(stops,): the states with the highest sum of evidence, less `price` for every change."""
    stops, states = evidence.shape
    came_from = np.zeros((stops, states), np.int32)
    everyone = np.arange(states)
    score = evidence[0].astype(np.float64)
    for stop in range(1, stops):
        best = int(score.argmax())
        stays = score >= score[best] - price
        came_from[stop] = np.where(stays, everyone, best)
        score = np.where(stays, score, score[best] - price) + evidence[stop]
    path = np.empty(stops, np.int64)
    path[-1] = score.argmax()
    for stop in range(stops - 1, 0, -1):
        path[stop - 1] = came_from[stop, path[stop]]
    return path
