from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import DataError
from trainer.table import SPLITS, Row, parse_table, read_table, write_table

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(str.strip).filter(bool)


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
        ("path,label,split\na,b.npy,tea,train\n", "line 2 has more cells"),
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


def test_columns_in_any_order_and_more_of_them() -> None:
    (row,) = parse_table(b"signer,path,session,label,split\nx,a.npy,7,tea,train\n", "dataset.csv")
    assert row == Row(2, "a.npy", "tea", "train", "x", {"session": "7"})
    assert (row.value("signer"), row.value("session"), row.value("camera")) == ("x", "7", "")


@settings(deadline=None)  # a busy disk is no fault of the table
@given(
    st.lists(
        st.tuples(TEXT, TEXT, st.sampled_from(SPLITS), st.one_of(st.just(""), TEXT), TEXT),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    path = tmp_path_factory.mktemp("table") / "dataset.csv"
    rows = tuple(
        Row(0, f"w/{name}.npy", label, split, signer, {"session": session})
        for name, label, split, signer, session in values
    )
    write_table(path, rows)
    again = parse_table(read_table(path), "dataset.csv")
    assert [(row.path, row.label, row.split, row.signer, row.further) for row in again] == [
        (row.path, row.label, row.split, row.signer, row.further) for row in rows
    ]
    first = path.read_bytes()
    write_table(path, again)
    assert path.read_bytes() == first


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "dataset.csv").write_text("old")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match=r"dataset\.csv cannot be written") as refusal:
        write_table(tmp_path / "dataset.csv", (Row(0, "a.npy", "tea", "train"),))
    assert "No space left" in refusal.value.why
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.csv"]
    assert (tmp_path / "dataset.csv").read_bytes() == b"old"


def test_a_row_takes_little_memory() -> None:
    """All rows of a dataset are in memory while it is loaded, its 100,000 files are not."""
    rows = 5000
    content = "path,label,split\n" + "".join(
        f"{row // 1000:03}/{row:06}.npy,word{row % 14:02},train\n" for row in range(rows)
    )
    parse_table(content.encode(), "dataset.csv")  # what the interpreter keeps for itself is there from now on
    tracemalloc.start()
    try:
        parsed = parse_table(content.encode(), "dataset.csv")
        assert tracemalloc.get_traced_memory()[0] < 350 * len(parsed)
    finally:
        tracemalloc.stop()
