"""A synthetic dataset, so that a demo needs no download. Enters: a folder. Leaves: keypoint files and a table.

A kinematic hand (flexed fingers, turned palm, moving wrist) makes the signs of several words as
several signers would: each has a hand size, a speed, a place, a tilt and a leading hand of their
own, and makes no sign twice alike. The words are names for made-up movements, not real signs.
The last signer is the test split and the one before it the validation split, so the accuracy is
that on a person never seen.

    python -m trainer.sample DIR
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError, SignspotError
from trainer.hand import Motion, pose_hands

Random = np.random.Generator

TABLE = "dataset.csv"

OPEN, FIST, POINT, TWO, PINCH = (0.1,) * 5, (1.4,) * 5, (1.2, 0.1, 1.4, 1.4, 1.4), (1.2, 0.1, 0.1, 1.4, 1.4), (0.9,) * 5

WORDS: dict[str, Motion] = {
    "hello": Motion(OPEN, OPEN, swing=(0.5, 0, 0), cycles=2.5, path=(0.5, 0)),
    "thank-you": Motion(OPEN, OPEN, turn=(0, 0.9, 0), line=(0.3, 1.6)),
    "yes": Motion(FIST, FIST, swing=(0, 0.8, 0), cycles=2.5),
    "no": Motion(TWO, FIST, cycles=2, flap=True),
    "please": Motion(OPEN, OPEN, cycles=2, path=(0.8, 0.8)),
    "help": Motion(FIST, FIST, line=(0, -1.6), other=OPEN),
    "stop": Motion(OPEN, OPEN, turn=(1.2, 0, 0), line=(-0.4, 1.4), other=OPEN),
    "more": Motion(PINCH, PINCH, cycles=2.5, path=(0.6, 0), other=PINCH, mirrored=True),
}


@dataclass(frozen=True)
class Signer:
    palm: float
    """Length of the palm as a share of the image."""
    frames: float
    """Frames an average sign takes."""
    place: tuple[float, float]
    """Resting place of the leading wrist, in shares of the image."""
    tilt: float
    """Of the camera, in radians."""
    left_handed: bool


def make_sample(
    directory: Path, *, words: int = 8, signers: int = 8, per_word_and_signer: int = 16, seed: int = 0
) -> int:
    """Write the dataset as a whole or not at all; where `directory` already holds a table, change nothing.

    Returns the number of sequences in `directory`. The same arguments give the same bytes.

    Raises:
        DataError: fewer than 4 signers, more words than there are, or a folder with something else in it.
    """
    if not 2 <= words <= len(WORDS) or signers < 4 or per_word_and_signer < 1:
        raise DataError(
            f"no sample of {words} words by {signers} signers, {per_word_and_signer} of each",
            mend=f"ask for 2 to {len(WORDS)} words, at least 4 signers and at least 1 of each",
        )
    if (directory / TABLE).is_file():
        with (directory / TABLE).open(newline="", encoding="utf-8") as table:
            return sum(1 for _ in csv.DictReader(table))
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(f"{directory} exists, without a {TABLE}", mend="name an empty or a new folder")
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        rows = _write(unfinished, words, signers, per_word_and_signer, seed)
        unfinished.chmod(0o755)
        unfinished.replace(directory)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return rows


def _write(directory: Path, words: int, signers: int, repeats: int, seed: int) -> int:
    rows = []
    for number in range(signers):
        signer = _make_signer(number, seed)
        split = {signers - 1: "test", signers - 2: "val"}.get(number, "train")
        for index, (word, motion) in enumerate(list(WORDS.items())[:words]):
            (directory / "keypoints" / word).mkdir(parents=True, exist_ok=True)
            for repeat in range(repeats):
                random = np.random.default_rng([seed, number, index, repeat])
                path = f"keypoints/{word}/signer{number}-{repeat:03d}.npy"
                np.save(directory / path, _sign(motion, signer, random), allow_pickle=False)
                rows.append((path, word, split, f"signer{number}"))
    with (directory / TABLE).open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("path", "label", "split", "signer"))
        writer.writerows(rows)
    return len(rows)


def _make_signer(number: int, seed: int) -> Signer:
    random = np.random.default_rng([seed, number])
    return Signer(
        palm=random.uniform(0.05, 0.12),
        frames=random.uniform(18, 30),
        place=(random.uniform(0.35, 0.45), random.uniform(0.5, 0.7)),
        tilt=random.uniform(-0.2, 0.2),
        left_handed=number % 4 == 1,
    )


def _sign(motion: Motion, signer: Signer, random: Random) -> NDArray[np.float32]:
    """One performance: (frames, 2, 21, 3) float32."""
    frames = max(10, round(signer.frames * random.uniform(0.75, 1.3)))
    hands = pose_hands(motion, frames, random) * signer.palm
    cos, sin = np.cos(signer.tilt), np.sin(signer.tilt)
    hands[..., :2] = hands[..., :2] @ np.array([[cos, sin], [-sin, cos]])
    hands[..., :2] += signer.place + random.normal(0, 0.02, 2)
    hands += random.normal(0, 0.08 * signer.palm, hands.shape)
    if signer.left_handed:
        hands = hands[:, ::-1] * (-1.0, 1.0, 1.0) + (1.0, 0.0, 0.0)
    seen = _seen(frames, random)
    if motion.other is None:
        seen[:, 1 if signer.left_handed else 0] = False
    hands[~seen] = 0
    return hands.astype(np.float32)


def _seen(frames: int, random: Random) -> NDArray[np.bool_]:
    """(frames, 2): frames lost now and then, and sometimes a hand for a while."""
    seen = np.repeat(random.random((frames, 1)) > 0.1, 2, axis=1)
    if random.random() < 0.5:
        start = random.integers(0, frames)
        seen[start : start + int(random.integers(2, 6)), random.integers(0, 2)] = False
    return seen


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.sample", description="Make a small synthetic dataset.")
    parser.add_argument("directory", type=Path, help="new or empty folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        sequences = make_sample(options.directory, seed=options.seed)
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.json:
        folder = options.directory
        print(json.dumps({"folder": str(folder), "table": str(folder / TABLE), "sequences": sequences}, indent=2))
    else:
        print(f"{options.directory} holds {sequences} sequences")
    return 0


if __name__ == "__main__":
    sys.exit(main())
