"""Words over time, on signs put in a row: `python -m benchmarks.timeline`, for docs/prediction.md; no clock counts.

A sample of six words is made and the default network trained on six of its eight signers. The 36 signs of each of the
two others are put in a row, with half a second without hands after each or with nothing between. Leaves: word accuracy
(1 - edit distance / words) and the median distance of a true end to the nearest one found, as Markdown and JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.ablation import train
from trainer.keypoints import Keypoints, load_keypoints
from trainer.recognise import ModelFolder
from trainer.sample import make_sample
from trainer.timeline import Sliding, Stretch, timeline

RATE = 25
"""Frames per second that the sample's signs are taken to have."""
PAUSES = (0.5, 0.0)
STRIDES = (0.1, 0.2)
SPLITS = ("val", "test")
"""Each is one signer."""

Truth = list[tuple[float, str]]
"""Where each sign ends, in seconds, and its word."""


def in_a_row(folder: Path, split: str, pause: float) -> tuple[Keypoints, Truth]:
    """A split's signs, one of each word in turn, each followed by `pause` seconds without hands."""
    with (folder / "dataset.csv").open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == split]
    by_word = [[row for row in rows if row["label"] == word] for word in sorted({row["label"] for row in rows})]
    order = [row for turn in zip(*by_word, strict=True) for row in turn]
    nothing = np.zeros((round(pause * RATE), 2, 21, 3), np.float32)
    clips = [np.concatenate([load_keypoints(folder / row["path"]), nothing]) for row in order]
    ends = np.cumsum([len(clip) for clip in clips]) / RATE - pause
    return np.concatenate(clips), [(float(end), row["label"]) for end, row in zip(ends, order, strict=True)]


def errors(found: Sequence[Stretch], truth: Truth) -> tuple[float, float]:
    """Word accuracy; the median distance of a true end, but for the last, to the nearest end found, in seconds."""
    words, wanted = [each.word for each in found if each.word], [word for _, word in truth]
    distance = np.arange(len(wanted) + 1)
    for number, word in enumerate(words, 1):
        before, distance[0] = distance.copy(), number
        for place, wish in enumerate(wanted, 1):
            distance[place] = min(before[place] + 1, distance[place - 1] + 1, before[place - 1] + (word != wish))
    bounds = np.array([each.end for each in found])
    return 1 - distance[-1] / len(wanted), float(np.median([np.abs(bounds - end).min() for end, _ in truth[:-1]]))


def measure(model: Path, folder: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Word accuracy and distance in seconds, the mean of both signers, by stride and pause."""
    recogniser = ModelFolder.read(model).load()
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for stride in STRIDES:
        for pause in PAUSES:
            each = []
            for split in SPLITS:
                keypoints, truth = in_a_row(folder, split, pause)
                each.append(errors(timeline(keypoints, RATE, recogniser, Sliding(stride=stride)), truth))
            accuracies, distances = zip(*each, strict=True)
            rows.setdefault(f"stride {stride:g}", {})[f"pause {pause:g}"] = (
                statistics.mean(accuracies),
                statistics.mean(distances),
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("results/timeline.json"))
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with tempfile.TemporaryDirectory() as temporary:
        sample = Path(temporary, "sample")
        make_sample(sample, words=6, signers=8, per_word_and_signer=6)
        metrics = train(sample, Path(temporary), {})
        rows = measure(Path(temporary, "model"), sample)
    known = {split: metrics[f"{split}_accuracy"] for split in SPLITS}
    print(f"one by one: {known}\n\n| | {' | '.join(f'pauses of {pause:g} s' for pause in PAUSES)} |\n|---|---|---|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(f'{accuracy:.2f}, {far:.2f} s' for accuracy, far in cells.values())} |")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"one_by_one": known, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
