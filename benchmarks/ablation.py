"""What each part of the trainer is worth on signers it has never seen.

    python benchmarks/ablation.py --data ../shared/data/signs --test-signer s1 --seeds 3

Every row is the real trainer with one setting away from the defaults: trained on all other signers, tested on one, on
the words that both have. A part of the others' clips, drawn at random, is val: it stops the training and nothing else.
The rows `random split` and `plain` say what a usual guide would report and what it would get. At the end the test
clips are mirrored, turned, scaled, moved, slowed and quickened, and the first model of the defaults tries again.
Enters: a dataset with a column signer. Leaves: accuracies per seed, as a table and JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.keypoints import Keypoints
from trainer.nonsense import NOTHING

PLAIN: dict[str, Any] = {
    "augment": False,
    "convolutions": 0,
    "layers": 2,
    "bidirectional": False,
    "pooling": "last",
    "label_smoothing": 0.0,
    "schedule": "constant",
    "learning_rate": 1e-3,
    "warmup_epochs": 0,
    "weight_decay": 0.0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "without augmentation": {"augment": False},
    "without hands that sign nothing": {"nonsense": 0.0},
    "without convolutions": {"convolutions": 0},
    "two GRU layers": {"layers": 2},
    "one direction": {"bidirectional": False},
    "last frame instead of attention": {"pooling": "last"},
    "without label smoothing": {"label_smoothing": 0.0},
    "constant learning rate": {"schedule": "constant"},
    "without weight decay": {"weight_decay": 0.0},
    "plain": PLAIN,
}
VAL_SHARE = 0.15

Row = dict[str, str]


def held_out(rows: list[Row], signer: str) -> list[Row]:
    """All clips of one signer are the test, of the words that others signed too; val is drawn from the others."""
    common = {r["label"] for r in rows if r["signer"] == signer} & {r["label"] for r in rows if r["signer"] != signer}
    random = np.random.default_rng(0)
    kept = []
    for row in rows:
        if row["label"] in common:
            split = "test" if row["signer"] == signer else "val" if random.random() < VAL_SHARE else "train"
            kept.append(row | {"split": split})
    return kept


def make_folder(folder: Path, data: Path, rows: Iterable[Row]) -> Path:
    folder.mkdir()
    for entry in data.iterdir():
        if entry.is_dir():
            (folder / entry.name).symlink_to(entry.resolve())
    with (folder / "dataset.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "label", "split", "signer"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def train(data: Path, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One training in a process of its own. Returns its metrics, with `seconds`."""
    environment = {
        **os.environ,
        "SM_CHANNEL_TRAINING": str(data),
        "SM_CHECKPOINT_DIR": str(out / "checkpoints"),
        "SM_MODEL_DIR": str(out / "model"),
        "SM_OUTPUT_DIR": str(out / "output"),
        "SM_HPS": json.dumps(settings | {"checkpoint_seconds": 3600}),
    }
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "trainer.train"], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"the training with {settings} ended with {result.returncode}:\n{result.stderr[-2000:]}")
    metrics: dict[str, Any] = json.loads((out / "model/metrics.json").read_text())
    return metrics | {"seconds": time.monotonic() - began}


def accuracy_of_words(metrics: dict[str, Any]) -> float:
    """Accuracy on the clips that hold a word."""
    words = [word for label, word in metrics["test_words"].items() if label != NOTHING]
    right = sum(word["recall"] * word["sequences"] for word in words if word["sequences"])
    return float(right / sum(word["sequences"] for word in words))


def mirrored(keypoints: Keypoints) -> Keypoints:
    return _where_seen(keypoints, keypoints * np.array([-1, 1, 1]) + np.array([1, 0, 0]))[:, ::-1]


def turned(keypoints: Keypoints) -> Keypoints:
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    return _where_seen(keypoints, keypoints @ turn)


def scaled(factor: float) -> Callable[[Keypoints], Keypoints]:
    return lambda keypoints: keypoints * np.float32(factor)


def shifted(keypoints: Keypoints) -> Keypoints:
    return _where_seen(keypoints, keypoints + np.array([0.2, -0.1, 0]))


def paced(speed: float) -> Callable[[Keypoints], Keypoints]:
    def pace(keypoints: Keypoints) -> Keypoints:
        frames = len(keypoints)
        kept: Keypoints = keypoints[np.linspace(0, frames - 1, max(1, round(frames / speed))).round().astype(int)]
        return kept

    return pace


def _where_seen(before: Keypoints, after: NDArray[Any]) -> Keypoints:
    seen = (before != 0).any(axis=(2, 3), keepdims=True)
    kept: Keypoints = np.where(seen, after, 0).astype(np.float32)
    return kept


COPIES: dict[str, Callable[[Keypoints], Keypoints]] = {
    "as it is": lambda keypoints: keypoints,
    "mirrored": mirrored,
    "turned by 20°": turned,
    "scaled to half": scaled(0.5),
    "scaled to double": scaled(2.0),
    "shifted": shifted,
    "at 0.7 of the speed": paced(0.7),
    "at 1.4 of the speed": paced(1.4),
}


def robustness(model: Path, data: Path, rows: list[Row]) -> dict[str, float]:
    """Accuracy on changed copies of the test clips; an answer counts whether or not it is confident."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from trainer.recognise import ModelFolder

    recogniser = ModelFolder.read(model).load()
    tests = [row for row in rows if row["split"] == "test"]
    clips = [np.load(data / row["path"]) for row in tests]
    accuracy = {}
    for name, change in COPIES.items():
        answers = recogniser.probabilities([change(clip) for clip in clips]).argmax(axis=1)
        right = [recogniser.labels[answer] == row["label"] for answer, row in zip(answers, tests, strict=True)]
        accuracy[name] = float(np.mean(right))
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--test-signer", default="s1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", help="a row's name; may be given several times")
    parser.add_argument("-c", action="append", default=[], metavar="NAME=VALUE", help="a setting of every row")
    parser.add_argument("--json", type=Path, default=Path("results/ablation.json"))
    options = parser.parse_args()
    common = {name: json.loads(value) for name, _, value in (setting.partition("=") for setting in options.c)}
    if not (options.data / "dataset.csv").is_file():
        print(f"skipped: {options.data} is not there")
        return
    rows = list(csv.DictReader((options.data / "dataset.csv").open(encoding="utf-8")))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"test_signer": options.test_signer, "rows": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tested = held_out(rows, options.test_signer)
        data = make_folder(folder / "held-out", options.data, tested)
        random = make_folder(folder / "random", options.data, rows)
        trainings = [(variant, data, settings) for variant, settings in VARIANTS.items()]
        trainings.insert(1, ("random split", random, {}))
        for variant, where, settings in trainings:
            if options.only and variant not in options.only:
                continue
            runs = []
            for seed in range(options.seeds):
                out = folder / f"{variant}-{seed}".replace(" ", "-")
                runs.append(train(where, out, common | settings | {"seed": seed}))
            accuracies = [run["test_accuracy"] for run in runs]
            results["rows"][variant] = {
                "mean": round(statistics.mean(accuracies), 4),
                "accuracies": [round(accuracy, 4) for accuracy in accuracies],
                "mean_of_words": round(statistics.mean(map(accuracy_of_words, runs)), 4),
                "epochs": [run["train_epochs"] for run in runs],
                "seconds": [round(run["seconds"]) for run in runs],
            }
            print(f"{variant}: {json.dumps(results['rows'][variant])}", flush=True)
            if variant == "defaults":
                results["copies"] = robustness(folder / "defaults-0/model", options.data, tested)
                print(f"copies: {json.dumps(results['copies'])}", flush=True)
            options.json.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
