from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootstrap.snapshot import fingerprint_of, snapshot, step_of
from contract.errors import StorageError


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-00000120.ckpt", 120),
        ("checkpoint-500/model.safetensors", 500),
        ("epoch=3-step=700.ckpt", 700),
        ("last.pt", 0),
    ],
)
def test_the_step_is_in_the_name(name: str, step: int) -> None:
    assert step_of(((name, 1, 1),)) == step


def test_the_newest_file_says_the_step() -> None:
    assert step_of((("step-9.ckpt", 1, 200), ("step-8.ckpt", 1, 100))) == 9
    assert step_of(()) == 0


def test_half_written_files_and_links_are_left_out(tmp_path: Path) -> None:
    for name in (".step-1.ckpt", "step-2.ckpt.tmp", "x.part", "good.ckpt", ".hidden/inside.ckpt", "sub/good.ckpt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (tmp_path / "link.ckpt").symlink_to("/etc/hostname")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [name for name, _, _ in fingerprint_of(tmp_path)] == ["good.ckpt", "sub/good.ckpt"]


def test_a_snapshot_outlives_the_files_it_was_taken_of(tmp_path: Path) -> None:
    folder = tmp_path / "ck"
    folder.mkdir()
    (folder / "a").write_text("hello")
    with snapshot(folder, tmp_path / "staging") as files:
        (folder / "a").unlink()
        assert (files.directory / "a").read_text() == "hello"
        assert files.files[0].size == 5
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_same_size_rewrite_is_seen(tmp_path: Path) -> None:
    """aws-cli#1074 and #3273: `aws s3 sync` skips a changed file of the same size."""
    (tmp_path / "a").write_text("one")
    before = fingerprint_of(tmp_path)
    stat = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("two")
    os.utime(tmp_path / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert fingerprint_of(tmp_path) != before


def test_a_file_that_is_written_while_it_is_read_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ck"
    folder.mkdir()
    (folder / "a").write_text("one")

    def write_meanwhile(path: Path) -> str:
        (folder / "a").write_text("longer")
        return ""

    monkeypatch.setattr("bootstrap.snapshot.sha256_of", write_meanwhile)
    with snapshot(folder, tmp_path / "staging") as files:
        assert [file.size for file in files.files] == [3]
        assert not files.unchanged()


def test_a_file_that_goes_away_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the disk takes no links."""
    folder = tmp_path / "ck"
    folder.mkdir()
    (folder / "a").write_text("one")
    monkeypatch.setattr("bootstrap.snapshot._link", lambda directory, *_: (directory / "a").unlink())
    with snapshot(folder, tmp_path / "staging") as files, pytest.raises(StorageError, match="went away"):
        assert files.files
