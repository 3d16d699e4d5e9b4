"""Pictures of how good a model is. Enters: answers, words, the history of a training. Leaves: figures to save as PNG.

Without pyplot, so without a window system or anything global. The colours can be told apart by the colour-blind
(Okabe and Ito's, and one hue from light to dark), and by their lightness alone.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from matplotlib import colormaps, font_manager, ft2font
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from trainer.evaluate import Answers, Calibration, reliability
from trainer.state import EpochRow

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8C8C8C"
FONT = "DejaVu Sans"
"""Comes with matplotlib, so a picture is the same everywhere. It lacks, among others, the scripts of East Asia."""
LONGEST = 24
"""Letters of a word that are shown."""
COUNTED = 40
"""Words up to which the cells of a confusion matrix are wide enough for a number."""
NAMED = 250
"""Words up to which each is named beside the matrix; of more, every second, third, …"""


def confusion(answers: Answers, labels: tuple[str, ...], split: str) -> Figure:
    """The confusion matrix of a split: a row per word, its sequences spread over the answers; counts in the cells."""
    counts = answers.confusion()
    were = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(counts / np.maximum(were, 1), np.broadcast_to(were == 0, counts.shape))
    words = len(labels)
    side = min(4 + max(0.42 if words <= COUNTED else 0.155, 3 / words) * words, 40)
    figure = Figure((side + 1, side), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["Blues"].with_extremes(bad="0.85")
    image = axes.imshow(shares, cmap=colours, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    if words <= COUNTED:
        for row, column in np.argwhere(counts):
            dark = shares[row, column] > 0.4
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color="w" if dark else "k")
    names, note = shown(labels)
    places = range(0, words, math.ceil(words / NAMED))
    size = 9 if words <= COUNTED else 7
    for axis, rotation in ((axes.xaxis, 90), (axes.yaxis, 0)):
        kept = [names[place] for place in places]
        axis.set_ticks(places, labels=kept, rotation=rotation, fontsize=size, family=FONT, parse_math=False)
        axis.set_ticks(np.arange(words + 1) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    figure.colorbar(
        image,
        ax=axes,
        aspect=40,
        fraction=0.03,
        pad=0.01,
        label="share of the word's sequences",
        format=PercentFormatter(1),
    )
    accuracy = f"{answers.right.mean():.1%} of {len(answers)} right"
    axes.set(xlabel="answer", ylabel="word", title=f"{split}: {accuracy}")
    remarks = ["grey: no sequence"] * bool((were == 0).any()) + [note] * bool(note)
    if remarks:
        figure.supxlabel("; ".join(remarks), fontsize=size, color=GREY)
    return figure


def curves(history: list[EpochRow], best: EpochRow | None) -> Figure:
    """Loss and accuracy by epoch, train and val, with the epoch whose weights were kept."""
    figure = Figure((9, 4), dpi=110, layout="constrained")
    epochs = [row.train_epoch for row in history]
    loss, accuracy = figure.subplots(1, 2)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        lines = (("train, while learning", name, BLUE, "--"), ("val", f"val_{name}", ORANGE, "-"))
        for label, field, colour, style in lines:
            values = [getattr(row, field) for row in history]
            if any(value is not None for value in values):
                numbers = [math.nan if value is None else value for value in values]
                axes.plot(epochs, numbers, style, color=colour, label=label, marker="." if len(epochs) < 3 else "")
        if best is not None:
            axes.axvline(best.train_epoch, color=GREY, linestyle=":", label=f"best: epoch {best.train_epoch}")
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.set_ylim(bottom=0)
    loss.legend()
    accuracy.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def calibration(answers: Answers, chosen: Calibration, split: str) -> Figure:
    """The reliability diagram of a split, before and after the temperature; below it, how confident the answers are."""
    figure = Figure((6, 6.5), dpi=110, layout="constrained")
    diagram, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    diagram.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="confidence is the share of right answers")
    bins = np.linspace(0, 1, 31)
    for label, temperature, colour, style in (
        ("as trained", 1.0, ORANGE, "s--"),
        (f"temperature {chosen.temperature:.3g}", chosen.temperature, BLUE, "o-"),
    ):
        found = reliability(answers, temperature)
        text = f"{label}: calibration error {found.error:.1%}"
        diagram.plot(found.confidence, found.accuracy, style, color=colour, label=text, markersize=5)
        histogram.hist(answers.confidence(temperature), bins, color=colour, histtype="step", linestyle=style[1:])
    for axes in (diagram, histogram):
        if chosen.unknown_below:
            axes.axvline(
                chosen.unknown_below, color="k", linewidth=1, label=f"unknown below {chosen.unknown_below:.1%}"
            )
        axes.grid(alpha=0.3)
    diagram.set(ylabel="share of right answers", title=f"{split}: {len(answers)} answers", xlim=(0, 1), ylim=(0, 1.02))
    diagram.legend(fontsize=8)
    histogram.set(xlabel="confidence", ylabel="answers", yscale="log", ylim=(0.7, None))
    histogram.xaxis.set_major_formatter(PercentFormatter(1))
    diagram.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def shown(labels: tuple[str, ...]) -> tuple[list[str], str]:
    """Each word as the font can show it, and a remark if it cannot show all: those are told by their number."""
    names, remark = [], ""
    for number, label in enumerate(labels):
        name = " ".join(label.split())
        name = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        if not {*map(ord, name)} <= _letters():
            name, remark = f"#{number}", "#n: the word with index n in labels.json, in letters that the font lacks"
        names.append(name)
    return names, remark


@cache
def _letters() -> frozenset[int]:
    font = ft2font.FT2Font(font_manager.findfont(FONT))
    return frozenset(font.get_charmap())
