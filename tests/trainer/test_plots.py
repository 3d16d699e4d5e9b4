from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from trainer import plots
from trainer.evaluate import Answers, Calibration
from trainer.state import EpochRow


def some_answers(words: int, sequences: int = 400, seed: int = 0) -> Answers:
    random = np.random.default_rng(seed)
    targets = random.integers(words, size=sequences)
    logits = random.normal(0, 1, (sequences, words)) + 3 * np.eye(words)[targets]
    return Answers(logits.astype(np.float32), targets.astype(np.int32))


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def words_beside(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


SHOWABLE = ("größe", "спасибо", "γεια", "merci à toi", "$x$ and $y$", "_none")
EXOTIC = (*SHOWABLE, "two\nlines", "z" * 300, "谢谢", "ありがとう")


def test_words_of_any_script_are_drawn_without_a_warning() -> None:
    figure = plots.confusion(some_answers(len(EXOTIC)), EXOTIC, "test")
    assert png(figure).startswith(b"\x89PNG")
    names = words_beside(figure)
    assert names == [*SHOWABLE, "two lines", "z" * 23 + "…", "#8", "#9"]
    assert "labels.json" in figure.get_supxlabel()


def test_counts_are_in_the_cells_and_a_word_without_sequences_is_grey() -> None:
    answers = Answers(np.eye(3, dtype=np.float32)[[0, 1, 1]], np.array([0, 0, 1], np.int32))
    figure = plots.confusion(answers, ("tea", "milk", "sugar"), "test")
    axes = figure.axes[0]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "1"),
        ((1, 0), "1"),
        ((1, 1), "1"),
    }
    shares = axes.images[0].get_array()
    assert shares is not None
    np.testing.assert_array_equal(np.ma.filled(shares, -1), [[0.5, 0.5, 0], [0, 1, 0], [-1, -1, -1]])
    assert "grey" in figure.get_supxlabel()
    assert axes.get_title() == "test: 66.7% of 3 right"


@pytest.mark.parametrize(("words", "named"), [(1, 1), (150, 150), (2000, 250)])
def test_a_matrix_stays_of_a_size_that_can_be_looked_at(words: int, named: int) -> None:
    labels = tuple(f"word-{number}" for number in range(words))
    figure = plots.confusion(some_answers(words), labels, "test")
    assert len(words_beside(figure)) == named
    assert 4 <= figure.get_figheight() <= 40
    if words > plots.COUNTED:
        assert not figure.axes[0].texts


@pytest.mark.parametrize("val", [True, False])
@pytest.mark.parametrize("epochs", [1, 30])
def test_curves(val: bool, epochs: int) -> None:
    history = [
        EpochRow(
            train_epoch=epoch,
            step=epoch * 10,
            loss=2 / epoch,
            accuracy=1 - 1 / epoch,
            val_loss=2.5 / epoch if val else None,
            val_accuracy=1 - 1 / (epoch + 1) if val else None,
        )
        for epoch in range(1, epochs + 1)
    ]
    figure = plots.curves(history, history[-1])
    assert png(figure).startswith(b"\x89PNG")
    _, shown = figure.axes[0].get_legend_handles_labels()
    assert shown == ["train, while learning", *["val"] * val, f"best: epoch {epochs}"]


def test_reliability_names_both_errors_and_the_threshold() -> None:
    answers = some_answers(5)
    figure = plots.calibration(answers, Calibration(1.7, 0.4), "test")
    assert png(figure).startswith(b"\x89PNG")
    _, shown = figure.axes[0].get_legend_handles_labels()
    assert any("temperature 1.7" in text for text in shown)
    assert "unknown below 40.0%" in shown


def test_nothing_is_left_open() -> None:
    """Without pyplot, which keeps every figure: a training that runs for days would not."""
    program = (
        "import io, sys; from trainer import plots; from trainer.state import EpochRow;"
        "plots.curves([EpochRow(train_epoch=1, step=1, loss=1, accuracy=0)], None).savefig(io.BytesIO());"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
