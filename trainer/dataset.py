"""The dataset. Enters: a folder with a table of `path,label,split[,…]`. Leaves: features per split, and a fingerprint.

What is large lies in temporary files, not in memory. Only the split train has to be there: without
val, early stopping watches the training loss; without test, no test accuracy is reported.
`python -m trainer.prepare` makes the table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from trainer.check import Clip, Finding, balance_lines, check_clips, check_table, error, finding_lines, read_clip
from trainer.keypoints import AXES, HANDS, LANDMARKS
from trainer.normalise import CHANNELS, normalise
from trainer.sequences import Sequences
from trainer.table import SPLITS, parse_table, read_table

LABELS_SHOWN = 30
"""Of the class balance, in the training log."""


@dataclass(frozen=True)
class Split:
    features: Sequences
    """Per sequence (frames, CHANNELS)."""
    targets: NDArray[np.int32]
    """Index of each sequence's label in `Dataset.labels`."""
    keypoints: Sequences | None = None
    """Of a training split, what its features were made of: where variations of them are wanted."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class Dataset:
    labels: tuple[str, ...]
    """Sorted; the index is what the model learns."""
    fingerprint: str
    """SHA-256 over the table (so labels, splits, order) and every file's content: two datasets are the same exactly
    when this is. What is made of them has a version of its own, `trainer.normalise.VERSION`."""
    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...] = ()
    """Class balance and warnings, for the log."""


def load_dataset(
    directory: Path,
    table: str = "dataset.csv",
    *,
    augmented: bool = False,
    scratch: Path | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Dataset:
    """Read the table and every file it names, once, check and normalise all of it.

    `augmented`: keep the keypoints of train, too. `scratch`: folder of the temporary files, which have no names;
    None: the system's. `check_stop` raises when loading should end now.

    Raises:
        DataError: the table or a file in it is missing or unusable, a label is never in train, the same clip
            is in two splits, or `scratch` is full; the message names all such findings, with their lines.
    """
    content = read_table(directory / table)
    rows = parse_table(content, str(directory / table))
    findings = check_table(rows)
    _refuse(directory, table, findings)
    labels = tuple(sorted({row.label for row in rows}))
    number = {label: index for index, label in enumerate(labels)}
    clips: dict[str, Clip] = {}
    features = {split: Sequences((CHANNELS,), scratch) for split in SPLITS}
    targets: dict[str, list[int]] = {split: [] for split in SPLITS}
    trained = Sequences((HANDS, LANDMARKS, AXES), scratch) if augmented else None
    for row in rows:
        check_stop()
        try:
            clips[row.path], keypoints = read_clip(directory / row.path, f"{row.path} (line {row.line} of {table})")
        except DataError as refusal:
            findings.append(error("file", f"{refusal.what}{f': {refusal.why}' if refusal.why else ''}"))
            continue
        features[row.split].append(normalise(keypoints))
        targets[row.split].append(number[row.label])
        if trained is not None and row.split == "train":
            trained.append(keypoints)
    findings += check_clips(rows, clips)
    _refuse(directory, table, findings)
    train, val, test = (Split(features[name], np.array(targets[name], np.int32)) for name in SPLITS)
    train = replace(train, keypoints=trained)
    notes = (*balance_lines(rows, LABELS_SHOWN), *finding_lines(findings))
    identity = fingerprint(content, (clips[row.path].file for row in rows))
    return Dataset(labels, identity, train, val, test, notes)


def fingerprint(table: bytes, files: Iterable[bytes]) -> str:
    """Of a table and, in its order, the SHA-256 of each file it names."""
    digest = hashlib.sha256(table)
    for file in files:
        digest.update(file)
    return digest.hexdigest()


def _refuse(directory: Path, table: str, findings: list[Finding]) -> None:
    errors = [finding for finding in findings if finding.error]
    if errors:
        raise DataError(
            "\n".join([f"{directory / table} cannot be trained from:", *finding_lines(errors)]),
            mend=f"correct it, and look again with: signspot dataset {directory}",
        )
