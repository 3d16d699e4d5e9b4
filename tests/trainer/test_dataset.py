from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from trainer.dataset import load_dataset, parse_table

SIGNS = Path(__file__).resolve().parents[3] / "shared/data/signs"


def write(directory: Path, table: str, files: tuple[str, ...] = ("a.npy", "b.npy", "c.npy")) -> Path:
    for number, name in enumerate(files):
        np.save(directory / name, np.full((2 + number, 2, 21, 3), 0.5, np.float32))
    (directory / "dataset.csv").write_text(table, encoding="utf-8")
    return directory


def test_rows_go_to_their_split(tmp_path: Path) -> None:
    table = "signer,path,label,split\nx,a.npy,tea,train\nx,b.npy,can,train\ny,c.npy,tea,test\n"
    dataset = load_dataset(write(tmp_path, table))
    assert dataset.labels == ("can", "tea")
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [2, 0, 1]
    assert list(dataset.train.targets) == [1, 0]
    assert [len(features) for features in dataset.train.features] == [2, 3]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "lacks the column path, label, split"),
        ("path,label\na.npy,tea\n", "lacks the column split"),
        ("path,label,split\n", "lists no sequence"),
        ("path,label,split\na.npy,tea,training\n", "line 2: 'training' is no split"),
        ("path,label,split\na.npy,,train\n", "line 2: the label is empty"),
        ("path,label,split\n,tea,train\n", "line 2: the path is empty"),
        ("path,label,split\na.npy\n", "line 2: the label is empty"),
        ("path,label,split\n../a.npy,tea,train\n", "leads out"),
        ("path,label,split\n/etc/passwd,tea,train\n", "leads out"),
        ("path,label,split\na.npy,tea,train\na.npy,tea,test\n", "line 3: a.npy is also on line 2"),
        ("path,label,split\na.npy,tea,val\n", "no row in the split train"),
        (
            "path,label,split\na.npy,tea,train\nb.npy,can,test\n",
            "line 3: the label 'can' is in test but never in train",
        ),
        ('path,label,split\n"a.npy,tea,train\n', "is not CSV"),
    ],
)
def test_bad_tables_are_refused(table: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        parse_table(table.encode(), "dataset.csv")
    assert refusal.value.what.startswith("dataset.csv")
    assert refusal.value.mend


def test_not_utf8() -> None:
    with pytest.raises(DataError, match="not CSV in UTF-8"):
        parse_table(b"path,label,split\nni\xf1o.npy,a,train\n", "dataset.csv")


def test_byte_order_mark_of_spreadsheets() -> None:
    assert parse_table("\ufeffpath,label,split\r\na.npy,tea,train\r\n".encode(), "dataset.csv")[0].path == "a.npy"


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other\.csv does not exist"):
        load_dataset(tmp_path, "other.csv")


def test_missing_file_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npy \(line 2 of dataset\.csv\) does not exist"):
        load_dataset(write(tmp_path, "path,label,split\ngone.npy,tea,train\n"))


def test_bad_file_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, "path,label,split\na.npy,tea,train\n")
    (tmp_path / "a.npy").write_text("no array")
    with pytest.raises(DataError, match=r"a\.npy \(line 2 of dataset\.csv\) is not a \.npy"):
        load_dataset(tmp_path)


def test_fingerprint_follows_table_and_contents(tmp_path: Path) -> None:
    table = "path,label,split\na.npy,tea,train\nb.npy,can,train\n"
    first = load_dataset(write(tmp_path, table)).fingerprint
    assert load_dataset(tmp_path).fingerprint == first
    (tmp_path / "dataset.csv").write_text(table.replace("b.npy,can,train", "b.npy,tea,train"))
    relabelled = load_dataset(tmp_path).fingerprint
    write(tmp_path, table)
    np.save(tmp_path / "b.npy", np.full((3, 2, 21, 3), 0.6, np.float32))
    changed = load_dataset(tmp_path).fingerprint
    assert len({first, relabelled, changed}) == 3


@pytest.mark.skipif(not SIGNS.is_dir(), reason="the real keypoints are not here")
def test_the_real_keypoints_load() -> None:
    dataset = load_dataset(SIGNS)
    assert len(dataset.labels) == 14
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [1428, 313, 299]
    assert all(np.isfinite(features).all() for features in dataset.train.features)
