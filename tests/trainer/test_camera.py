from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.errors import DataError
from tests.trainer.clips_for_tests import needs_opencv
from tests.trainer.models_for_tests import WORDS, Reader, hand_of
from trainer.camera import Camera, watch
from trainer.handedness import Detection
from trainer.keypoints import Keypoints
from trainer.recognise import Probabilities
from trainer.timeline import Sliding, Stretch

PICTURE = np.zeros((4, 4, 3), np.uint8)


def frames(seconds: float, rate: float = 20) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    for index in range(int(seconds * rate)):
        yield index / rate, PICTURE


class Scene:
    """Somebody who signs by a script."""

    def __init__(self, *script: tuple[float, int | None]) -> None:
        """Until which second which word is signed; None: no hand."""
        self.script = script
        self.times: list[int] = []

    def track(self, _: NDArray[np.uint8], milliseconds: int) -> tuple[Detection, ...]:
        self.times.append(milliseconds)
        word = next(word for until, word in self.script if milliseconds < until * 1000)
        if word is None:
            return ()
        return (Detection(0.01, hand_of(word)[0, 1]),)

    def words(self, seconds: float) -> list[Stretch]:
        return list(watch(frames(seconds), self.track, Reader(), Sliding(1.0, 0.1)))


def test_each_word_is_said_once_and_soon() -> None:
    scene = Scene((1, None), (3, 0), (5, 1), (7, None), (99, 1))
    found = scene.words(9)
    assert [word.word for word in found] == [WORDS[0], WORDS[1], WORDS[1]]
    for word, began in zip(found, (1, 3, 7), strict=True):
        assert word.start == pytest.approx(began, abs=0.5)
        assert word.end - began < 0.6
    assert scene.times == sorted(set(scene.times))


def test_nothing_is_said_without_hands_or_when_unknown() -> None:
    assert Scene((99, None)).words(3) == []
    assert Scene((99, 7)).words(3) == []


def test_one_long_sign_is_said_once_and_looked_at_a_window_at_a_time() -> None:
    lengths: list[int] = []

    class Recorder(Reader):
        def probabilities(self, clips: Sequence[Keypoints]) -> Probabilities:
            lengths.extend(map(len, clips))
            return super().probabilities(clips)

    scene = Scene((99, 0))
    assert len(list(watch(frames(25), scene.track, Recorder(), Sliding(1.0, 0.1)))) == 1
    assert max(lengths) <= 45


def test_times_that_stand_still_or_go_back_grow_all_the_same() -> None:
    scene = Scene((99, 0))
    list(watch([(t, PICTURE) for t in (0.0, 0.0, 0.5, 0.4, 0.6)], scene.track, Reader(), Sliding()))
    assert scene.times == [0, 1, 500, 501, 600]


def test_no_camera_is_one_message() -> None:
    needs_opencv()
    with pytest.raises(DataError, match="camera 97 cannot be opened") as caught:
        Camera(97)
    assert "--camera 1" in str(caught.value)
