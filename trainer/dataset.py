"""The dataset. Enters: a folder with a table of `path,label,split[,…]`. Leaves: features per split, and a fingerprint.

Further columns, such as `signer`, are allowed and ignored. Splits are train, val and test; only
train has to be there: without val, early stopping watches the training loss; without test, no
test accuracy is reported.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from trainer.keypoints import parse_keypoints
from trainer.normalise import Features, normalise

COLUMNS = ("path", "label", "split")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Row:
    line: int
    """Line of the table, 1 is the header."""
    path: str
    label: str
    split: str


@dataclass(frozen=True)
class Split:
    features: tuple[Features, ...]
    """Per sequence (frames, CHANNELS)."""
    targets: NDArray[np.int32]
    """Index of each sequence's label in `Dataset.labels`."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class Dataset:
    labels: tuple[str, ...]
    """Sorted; the index is what the model learns."""
    fingerprint: str
    """SHA-256 over the table and every file's content: two datasets are the same exactly when this is."""
    train: Split
    val: Split
    test: Split


def load_dataset(directory: Path, table: str = "dataset.csv") -> Dataset:
    """Read the table and every file it names, once, and normalise all of it.

    Raises:
        DataError: the table or a file in it is missing or unusable; the message names the line.
    """
    content = _read_table(directory, table)
    rows = parse_table(content, str(directory / table))
    labels = tuple(sorted({row.label for row in rows}))
    digest = hashlib.sha256(content)
    features: dict[str, list[Features]] = {split: [] for split in SPLITS}
    targets: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row in rows:
        where = f"{directory / row.path} (line {row.line} of {table})"
        try:
            file = (directory / row.path).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{where} does not exist", mend=f"correct {table}, or bring the file back") from None
        except OSError as error:
            raise DataError(f"{where} cannot be read", why=error.strerror or str(error)) from None
        digest.update(hashlib.sha256(file).digest())
        features[row.split].append(normalise(parse_keypoints(file, where)))
        targets[row.split].append(labels.index(row.label))
    train, val, test = (Split(tuple(features[name]), np.array(targets[name], np.int32)) for name in SPLITS)
    return Dataset(labels, digest.hexdigest(), train, val, test)


def parse_table(content: bytes, name: str) -> tuple[Row, ...]:
    """The rows of a table.

    Raises:
        DataError: not UTF-8, a column is missing, no row, an empty or leading-out path, an empty label,
            an unknown split, the same path twice, no training row, or a label without a training row.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{name} lacks the column {', '.join(missing)}", mend=f"its first line has to name {','.join(COLUMNS)}"
            )
        rows = tuple(Row(reader.line_num, *((record[column] or "").strip() for column in COLUMNS)) for record in reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} is not CSV in UTF-8", why=str(error), mend="save it as such") from None
    if not rows:
        raise DataError(f"{name} lists no sequence", mend="add a row per keypoint file")
    lines: dict[str, int] = {}
    for row in rows:
        _check_row(row, name)
        if row.path in lines:
            raise DataError(
                f"{name}, line {row.line}: {row.path} is also on line {lines[row.path]}", mend="remove one of the two"
            )
        lines[row.path] = row.line
    trained = {row.label for row in rows if row.split == "train"}
    if not trained:
        raise DataError(f"{name} has no row in the split train", mend="put about 60 % of the rows into train")
    for row in rows:
        if row.label not in trained:
            raise DataError(
                f"{name}, line {row.line}: the label {row.label!r} is in {row.split} but never in train",
                mend="put sequences of that label into train, or remove it",
            )
    return rows


def _read_table(directory: Path, table: str) -> bytes:
    path = directory / table
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", mend="set data.path and data.table to your dataset") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read", why=error.strerror or str(error)) from None


def _check_row(row: Row, name: str) -> None:
    where = f"{name}, line {row.line}"
    if not row.path or not row.label:
        raise DataError(f"{where}: the {'label' if row.path else 'path'} is empty", mend="fill it in")
    parts = PurePosixPath(row.path)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{where}: {row.path} leads out of the dataset's folder", mend="use paths relative to it")
    if row.split not in SPLITS:
        raise DataError(f"{where}: {row.split!r} is no split", mend=f"use one of {', '.join(SPLITS)}")
