from __future__ import annotations

import numpy as np
import pytest

from trainer.hand import Motion, pose_hands
from trainer.sample import WORDS

BONES = [(first + joint, first + joint + 1) for first in (1, 5, 9, 13, 17) for joint in range(3)]


@pytest.mark.parametrize("word", WORDS)
def test_bones_keep_their_length(word: str) -> None:
    hands = pose_hands(WORDS[word], 20, np.random.default_rng(0))
    lengths = np.stack([np.linalg.norm(hands[:, 1, end] - hands[:, 1, start], axis=-1) for start, end in BONES])
    np.testing.assert_allclose(lengths, np.repeat(lengths[:, :1], 20, axis=1), rtol=0.03)
    assert lengths.min() > 0.1


def test_a_fist_is_smaller_than_an_open_hand() -> None:
    def reach(flexion: float) -> float:
        motion = Motion((flexion,) * 5, (flexion,) * 5)
        hand = pose_hands(motion, 5, np.random.default_rng(0))[:, 1]
        return float(np.linalg.norm(hand[:, 12] - hand[:, 0], axis=-1).mean())

    assert reach(1.4) < 0.7 * reach(0.1)


def test_the_other_hand_is_absent_unless_asked_for() -> None:
    random = np.random.default_rng(0)
    assert not pose_hands(WORDS["yes"], 5, random)[:, 0].any()
    assert pose_hands(WORDS["help"], 5, random)[:, 0].any()
