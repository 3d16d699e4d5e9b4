from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.evaluate import Answers, Calibration, by_word, calibrate, confusions, measure, reliability, threshold


def answers_of(logits: object, targets: object) -> Answers:
    return Answers(np.array(logits, np.float32), np.array(targets, np.int32))


def confident(confidences: list[float], right: list[bool]) -> Answers:
    """Two words; each answer is word 0 with the given confidence above one half."""
    logits = [[math.log(confidence / (1 - confidence)), 0] for confidence in confidences]
    return answers_of(logits, [0 if each else 1 for each in right])


def sampled(sharpness: float, sequences: int = 20_000, words: int = 6) -> Answers:
    """Answers that would be calibrated, had their logits not been multiplied by `sharpness`."""
    random = np.random.default_rng(0)
    logits: NDArray[np.float64] = random.normal(0, 2, (sequences, words))
    targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # samples of the softmax
    return answers_of(logits * sharpness, targets)


@pytest.mark.parametrize("sharpness", [0.5, 1, 3])
def test_the_temperature_undoes_what_made_a_model_too_sure_or_too_shy(sharpness: float) -> None:
    val = sampled(sharpness)
    temperature = calibrate(val).temperature
    assert temperature == pytest.approx(sharpness, rel=0.05)
    assert val.loss(temperature) <= val.loss(1)
    assert reliability(val, temperature).error < 0.015
    if sharpness != 1:
        assert reliability(val, 1).error > 0.1


def test_the_temperature_is_the_best_of_all() -> None:
    val = sampled(2, sequences=50)
    temperature = calibrate(val).temperature
    others = np.geomspace(0.1, 10, 500)
    assert val.loss(temperature) <= min(val.loss(other) for other in others) + 1e-6


def test_calibration_error_by_hand() -> None:
    """Bins of a fifteenth: 0.62 and 0.65 share one, 0.9 is alone, as is 1 (Guo et al., equation 3)."""
    answers = confident([0.62, 0.65, 0.9, 0.99999999], [True, False, False, True])
    error = 2 / 4 * abs(0.635 - 0.5) + 1 / 4 * abs(0.9 - 0) + 1 / 4 * 0
    assert reliability(answers, 1).error == pytest.approx(error, abs=1e-6)
    assert reliability(answers, 1).answers.tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("val", "temperature", "threshold", "said"),
    [
        (answers_of(np.zeros((0, 3)), []), 1, 0, "no val split"),
        (confident([0.9, 0.7, 0.8], [True, True, True]), 1, 0.5, "all 3 answers on val are right"),
        (confident([0.9, 0.7], [False, False]), 1, 0, "all 2 answers on val are wrong"),
    ],
)
def test_a_val_that_leaves_the_choice_open(val: Answers, temperature: float, threshold: float, said: str) -> None:
    calibration = calibrate(val)
    assert calibration.temperature == temperature
    assert calibration.unknown_below == pytest.approx(threshold, abs=1e-4)
    assert said in calibration.notes[0]


def unsure(confidences: list[float], right: list[bool]) -> Answers:
    """Ten words; each answer is word 0 with the given confidence, the others share the rest."""
    logits = [[math.log(confidence / (1 - confidence) * 9), *[0] * 9] for confidence in confidences]
    return answers_of(logits, [0 if each else 1 for each in right])


def test_one_in_twenty_right_answers_is_withheld() -> None:
    confidences = [0.2 + number / 250 for number in range(1, 101)]
    val = unsure([*confidences, 0.21, 0.5], [*[True] * 100, False, False])
    measured = measure(val, Calibration(1, threshold(val, 1)))
    assert measured["right_withheld"] == 0.05
    assert measured["wrong_withheld"] == 0.5
    assert measured["answered"] == pytest.approx(96 / 102)
    assert measured["accuracy_of_answered"] == pytest.approx(95 / 96)


def test_what_is_likelier_right_than_wrong_is_answered() -> None:
    val = confident([0.99] * 100, [True] * 100)
    assert threshold(val, 1) == 0.5
    assert measure(confident([0.51, 0.9], [True, False]), calibrate(val))["answered"] == 1


def test_of_few_right_answers_none_is_withheld() -> None:
    val = confident([0.9, 0.6, 0.7, 0.55], [True, True, True, False])
    assert measure(val, calibrate(val))["right_withheld"] == 0


def test_words_by_hand() -> None:
    """Three words: the first twice right and once taken for the second, the second right, the third never seen."""
    answers = answers_of([[9, 1, 0], [9, 1, 0], [1, 9, 0], [1, 9, 0]], [0, 0, 0, 1])
    assert answers.confusion().tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    words = by_word(answers, ("tea", "milk", "sugar"))
    assert words == {
        "tea": {"precision": 1, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8), "sequences": 3},
        "milk": {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "sequences": 1},
    }
    assert confusions(answers, ("tea", "milk", "sugar")) == [{"word": "tea", "answer": "milk", "times": 1}]


def test_a_word_never_answered_has_no_precision_and_one_never_shown_no_recall() -> None:
    words = by_word(answers_of([[0, 1]], [0]), ("tea", "milk"))
    assert words["tea"]["precision"] is None
    assert words["milk"]["recall"] is None
    assert words["tea"]["f1"] == words["milk"]["f1"] == 0


def test_among_the_likeliest_three() -> None:
    answers = answers_of([[4, 3, 2, 1, 0]] * 5, [0, 1, 2, 3, 4])
    measured = measure(answers, Calibration())
    assert (measured["accuracy"], measured["top3_accuracy"]) == (0.2, 0.6)
    assert measured["loss"] == pytest.approx(np.log(np.exp([4, 3, 2, 1, 0]).sum()) - 2)


def test_large_logits_are_no_trouble() -> None:
    answers = answers_of([[3e4, -3e4], [-3e4, 3e4], [3e4, -3e4]], [0, 1, 1])
    measured = measure(answers, calibrate(answers))
    assert math.isfinite(measured["loss"])
    json.dumps(measured, allow_nan=False)


def test_a_split_without_sequences_has_no_numbers() -> None:
    measured = measure(answers_of(np.zeros((0, 3)), []), Calibration())
    assert measured == {"sequences": 0, "loss": None, "accuracy": None}
