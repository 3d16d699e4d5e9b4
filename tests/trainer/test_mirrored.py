from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.config import TrainerConfig
from trainer.learner import Learner
from trainer.mirrored import make_learner
from trainer.sample import make_sample

REPOSITORY = Path(__file__).resolve().parents[2]
EPOCHS = 3


class Outcome:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.states = json.loads((folder / "states.json").read_text())

    def known(self, name: str) -> list[np.ndarray]:
        """Weights, dropout's seeds and the optimiser's variables, and the best weights of a whole run."""
        with np.load(self._folder / f"{name}.npz") as arrays:
            return list(arrays.values())

    def history(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.states[name]["history"]
        return rows


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of `mirrored_for_tests.py`, whose dataset has fewer clips of one word, so that they count more."""
    folder = tmp_path_factory.mktemp("mirrored")
    data, output = folder / "data", folder / "output"
    output.mkdir()
    make_sample(data, words=3, signers=4, per_word_and_signer=4)
    with (data / "dataset.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    missing = [row for row in rows if row["split"] == "train" and row["label"] == rows[0]["label"]][:4]
    with (data / "dataset.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(row for row in rows if row not in missing)
    command = [sys.executable, "tests/trainer/mirrored_for_tests.py", str(data), str(output)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Outcome(output)


def assert_alike(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float) -> None:
    """Each array but for a share of its largest element.

    The score's bias in attention is an array of one: no sum over frames depends on it, its gradient is rounding alone.
    """
    assert [array.shape for array in ours] == [array.shape for array in theirs]
    for our, their in zip(ours, theirs, strict=True):
        allowed = 1e-6 if their.shape == (1,) else tolerance * np.abs(their).max(initial=0)
        np.testing.assert_allclose(our, their, rtol=0, atol=allowed)


def equal(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return len(ours) == len(theirs) and all(np.array_equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_two_devices_learn_what_one_does(outcome: Outcome) -> None:
    """Dropout, clip norm, weight decay, class weights, variations, a batch of odd size and one of a single clip."""
    one, two = outcome.history("one"), outcome.history("two")
    assert len(one) == EPOCHS
    for ours, theirs in zip(two, one, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert_alike(outcome.known("two"), outcome.known("one"), 1e-4)


def test_resumed_with_two_devices_a_run_is_the_same_bit_for_bit(outcome: Outcome) -> None:
    assert outcome.states["resumed_at"] == "step-00000003.ckpt"  # in the middle of an epoch of two steps
    assert outcome.states["two-resumed"] == outcome.states["two"]
    assert equal(outcome.known("two-resumed"), outcome.known("two"))


@pytest.mark.parametrize(("name", "whole"), [("one-from-two", "two"), ("two-from-one", "one")])
def test_a_run_goes_on_with_another_number_of_devices(outcome: Outcome, name: str, whole: str) -> None:
    for ours, theirs in zip(outcome.history(name), outcome.history(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert_alike(outcome.known(name), outcome.known(whole), 1e-4)


def test_both_devices_know_the_same_to_the_end(outcome: Outcome) -> None:
    """Random state included: what one draws, the other draws."""
    assert equal(outcome.known("first"), outcome.known("second"))


def test_in_16_bits_an_overflow_on_one_device_is_a_step_that_neither_takes(outcome: Outcome) -> None:
    assert_alike(outcome.known("16-two"), outcome.known("16-one"), 0.01)
    assert_alike(outcome.known("16-two-overflow"), outcome.known("16-one-overflow"), 0.01)
    before, after = outcome.known("16-two"), outcome.known("16-two-overflow")
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old.dtype.kind == "f"]
    assert [(old.tolist(), new.tolist()) for old, new in pairs if not np.array_equal(old, new)] == [(2.0**15, 2.0**14)]


@pytest.mark.parametrize("devices", [None, (), ("CPU:0",)])
def test_without_a_second_device_nothing_is_mirrored(devices: tuple[str, ...] | None) -> None:
    assert type(make_learner(TrainerConfig(units=4, convolutions=0), 3, devices)) is Learner
