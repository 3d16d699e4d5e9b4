from __future__ import annotations

from pathlib import Path

import pytest

from contract.config import DataConfig
from contract.errors import ConfigError, DataError
from infra.data import S3Prefix, find_data


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://your-bucket", "your-bucket", ""),
        ("s3://your-bucket/", "your-bucket", ""),
        ("s3://your-bucket/signs", "your-bucket", "signs/"),
        ("s3://your-bucket/a/b/", "your-bucket", "a/b/"),
    ],
)
def test_a_prefix_ends_with_a_slash_or_is_empty(tmp_path: Path, uri: str, bucket: str, prefix: str) -> None:
    found = find_data(DataConfig(path=uri), tmp_path)
    assert found == S3Prefix(bucket, prefix)


@pytest.mark.parametrize(
    "uri", ["s3://", "s3://B", "s3://your-bucket/a*", "s3://your-bucket/a'b", "s3://your-bucket/$(x)"]
)
def test_what_a_shell_or_a_policy_would_read_differently_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match="is not an S3 prefix"):
        find_data(DataConfig(path=uri), tmp_path)


def test_a_folder_with_a_table_is_found(tmp_path: Path) -> None:
    (tmp_path / "dataset.csv").write_text("\ufeffpath,label,split,signer\na.npy,hello,train,1\n", encoding="utf-8")
    assert find_data(DataConfig(path="."), tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"path,label,split\n", "lists no sequence"),
        (b"", "has no column path, label, split"),
        (b"path,label\na.npy,hello\n", "has no column split"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_an_unusable_table_is_one_message(tmp_path: Path, table: bytes, message: str) -> None:
    (tmp_path / "dataset.csv").write_bytes(table)
    with pytest.raises(DataError, match=message):
        find_data(DataConfig(path="."), tmp_path)


def test_a_folder_without_its_table_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        find_data(DataConfig(path="."), tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(ConfigError, match="there is no folder"):
        find_data(DataConfig(path="x"), tmp_path)
