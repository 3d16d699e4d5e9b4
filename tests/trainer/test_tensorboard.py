from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.scalars_for_tests import read_scalars
from trainer.state import EpochRow
from trainer.tensorboard import Scalars


def row(train_epoch: int) -> EpochRow:
    return EpochRow(
        train_epoch=train_epoch, step=6 * train_epoch, loss=1 / train_epoch, accuracy=0.5, val_loss=2, val_accuracy=0.25
    )


def test_every_epoch_has_its_values(tmp_path: Path) -> None:
    scalars = Scalars(tmp_path / "new", [], learning_rate=lambda step: step / 100)
    scalars.write(row(1), 12.5)
    scalars.write(row(2), 25)
    found = {(name, step): value for name, step, value in read_scalars(tmp_path / "new")}
    assert found == pytest.approx(
        {
            **{("loss", 6): 1, ("accuracy", 6): 0.5, ("val_loss", 6): 2, ("val_accuracy", 6): 0.25},
            **{("loss", 12): 0.5, ("accuracy", 12): 0.5, ("val_loss", 12): 2, ("val_accuracy", 12): 0.25},
            **{("learning_rate", 6): 0.06, ("learning_rate", 12): 0.12},
            **{("steps_per_second", 6): 12.5, ("steps_per_second", 12): 25},
        }
    )


def test_an_attempt_that_goes_on_has_no_epoch_twice_and_misses_none(tmp_path: Path) -> None:
    first = Scalars(tmp_path, [], learning_rate=lambda _: 0.1)
    for number in (1, 2, 3):
        first.write(row(number), 10)
    (tmp_path / "keep.txt").touch()
    second = Scalars(tmp_path, [row(1), row(2)], learning_rate=lambda _: 0.1)
    for number in (3, 4):
        second.write(row(number), 10)
    assert [(name, step) for name, step, _ in read_scalars(tmp_path) if name == "loss"] == [
        ("loss", 6 * number) for number in (1, 2, 3, 4)
    ]
    assert (tmp_path / "keep.txt").exists()


def test_what_cannot_be_written_is_said_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    scalars = Scalars(tmp_path / "file" / "below", [row(1)], learning_rate=lambda _: 0.1)
    scalars.write(row(2), 10)
    assert capsys.readouterr().out.count("cannot be written, and are left out") == 1
