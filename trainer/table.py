"""The table `path,label,split,signer`. Enters: CSV in UTF-8. Leaves: checked rows, and the same CSV again.

`signer` may be absent or empty. Further columns, such as `session`, are kept as they are. Splits are
train, val and test.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from contract.errors import DataError
from trainer.atomic import replacing

COLUMNS = ("path", "label", "split")
SIGNER = "signer"
SPLITS = ("train", "val", "test")


_NOTHING_FURTHER: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    """Line of the table, 1 is the header; 0 when it is not in a table yet."""
    path: str
    """Below the dataset's folder, with slashes."""
    label: str
    split: str
    signer: str = ""
    """Empty: not known."""
    further: Mapping[str, str] = field(default_factory=dict)
    """The other columns."""

    def value(self, column: str) -> str:
        """What the row has in a column; empty where it has none."""
        return self.signer if column == SIGNER else self.further.get(column, "")


def parse_table(content: bytes, name: str) -> tuple[Row, ...]:
    """The rows of a table.

    Raises:
        DataError: not UTF-8, a column is missing, no row, more cells than columns, an empty or leading-out
            path, an empty label, an unknown split, or the same path twice.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{name} lacks the column {', '.join(missing)}", mend=f"its first line has to name {','.join(COLUMNS)}"
            )
        rows = tuple(_row(reader.line_num, record, name) for record in reader)
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
    return rows


def read_table(path: Path) -> bytes:
    """The bytes of a table.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        mend = f"set data.path and data.table to your dataset, or make the table: signspot dataset {path.parent}"
        raise DataError(f"{path} does not exist", mend=mend) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read", why=error.strerror or str(error)) from None


def write_table(path: Path, rows: tuple[Row, ...]) -> None:
    """Write the rows, whole or not at all; the same rows give the same bytes.

    Raises:
        DataError: the folder cannot be written to.
    """
    text = io.StringIO()
    further = list(dict.fromkeys(column for row in rows for column in row.further))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, SIGNER, *further))
    for row in rows:
        writer.writerow((row.path, row.label, row.split, row.signer, *(row.further.get(name, "") for name in further)))
    try:
        with replacing(path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written", why=error.strerror or str(error), mend="make its folder writable, or copy it"
        ) from None


def _row(line: int, record: dict[str, str], name: str) -> Row:
    if None in record:
        raise DataError(
            f"{name}, line {line} has more cells than the first line has columns",
            mend="put a path or label with a comma in it between quotes",
        )
    values = {column: (value or "").strip() for column, value in record.items()}
    path, label, split = (values.pop(column) for column in COLUMNS)
    # A table of 100,000 rows is in memory while it is loaded: what is the same in many of them is kept once.
    label, split, signer = map(sys.intern, (label, split, values.pop(SIGNER, "")))
    return Row(line, path, label, split, signer, values or _NOTHING_FURTHER)


def _check_row(row: Row, name: str) -> None:
    where = f"{name}, line {row.line}"
    if not row.path or not row.label:
        raise DataError(f"{where}: the {'label' if row.path else 'path'} is empty", mend="fill it in")
    parts = PurePosixPath(row.path)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{where}: {row.path} leads out of the dataset's folder", mend="use paths relative to it")
    if row.split not in SPLITS:
        raise DataError(f"{where}: {row.split!r} is no split", mend=f"use one of {', '.join(SPLITS)}")
