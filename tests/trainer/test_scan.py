from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path, PurePosixPath

import pytest

from contract.errors import ConfigError, DataError
from trainer.check import Finding
from trainer.scan import Found, SignerNames, scan


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def scanned(folder: Path, signers: SignerNames | None = None) -> tuple[list[Found], list[Finding]]:
    return scan(folder, folder, signers or SignerNames())


def paths(folder: Path) -> list[str]:
    return [found.path for found in scanned(folder)[0]]


def test_words_are_the_first_folder_at_any_depth(tmp_path: Path) -> None:
    make(tmp_path, "tea/b.npy", "tea/day 1/cam/a.NPY", "can/c.npy", "can/c.json", ".cache/x.npy", "can/.tmp.npy")
    found, findings = scanned(tmp_path)
    assert [(file.path, file.label) for file in found] == [
        ("can/c.npy", "can"),
        ("tea/b.npy", "tea"),
        ("tea/day 1/cam/a.NPY", "tea"),
    ]
    assert not findings


def test_paths_are_below_the_folder_labels_below_the_root(tmp_path: Path) -> None:
    make(tmp_path, "keypoints/tea/a.npy")
    (file,) = scan(tmp_path, tmp_path / "keypoints", SignerNames())[0]
    assert (file.path, file.label) == ("keypoints/tea/a.npy", "tea")


def test_loops_end_and_no_file_is_met_twice(tmp_path: Path) -> None:
    make(tmp_path, "tea/x/a.npy", "can/b.npy")
    (tmp_path / "tea/x/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "tea/self").symlink_to("self")
    (tmp_path / "aa").symlink_to("tea", target_is_directory=True)
    found, findings = scanned(tmp_path)
    assert [file.path for file in found] == ["can/b.npy", "tea/x/a.npy"]
    assert sorted(finding.text.split()[0] for finding in findings) == ["aa", "tea/x/up"]
    assert not any(finding.error for finding in findings)


def test_a_link_to_elsewhere_is_followed_once(tmp_path: Path) -> None:
    make(tmp_path / "store", "deep/a.npy")
    make(tmp_path / "data", "tea/own.npy")
    (tmp_path / "data/can").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "store/deep/back").symlink_to(tmp_path / "data", target_is_directory=True)
    assert paths(tmp_path / "data") == ["can/deep/a.npy", "tea/own.npy"]


def test_non_ascii_names_are_kept_and_labels_composed(tmp_path: Path) -> None:
    word = unicodedata.normalize("NFD", "señal")
    make(tmp_path, f'{word}/手話 🤟, "a".npy')
    (file,) = scanned(tmp_path)[0]
    assert file.label == "señal"
    assert (tmp_path / file.path).is_file()


def test_names_of_255_bytes_and_deep_folders(tmp_path: Path) -> None:
    long = "ñ" * 125
    make(tmp_path, f"{long}/{'x' * 251}.npy", f"tea/{'/'.join(['d' * 200] * 5)}/a.npy")
    found, findings = scanned(tmp_path)
    assert {file.label for file in found} == {long, "tea"}
    (finding,) = findings
    assert (finding.error, finding.kind) == (False, "long-name")
    assert finding.text.startswith("tea/ddd")


def test_a_path_longer_than_the_system_takes_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "can/b.npy")
    above = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=above)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    found, (finding,) = scanned(tmp_path)
    shutil.rmtree(tmp_path / ("d" * 200))
    assert [file.path for file in found] == ["can/b.npy"]
    assert finding.error
    assert "cannot be read: File name too long" in finding.text


def test_what_no_table_can_name_is_left_out_by_name(tmp_path: Path) -> None:
    make(tmp_path, "loose.npy", " tea/a.npy", "can/b.npy")
    (tmp_path / "can" / os.fsdecode(b"\xff.npy")).write_bytes(b"")
    found, findings = scanned(tmp_path)
    assert [file.path for file in found] == ["can/b.npy"]
    assert all(finding.error for finding in findings)
    assert sorted(finding.text for finding in findings) == [
        " tea/a.npy is left out: its name begins or ends with a space",
        "can/\\xff.npy is left out: its name is not UTF-8",
        "loose.npy is left out: it is in no word's folder",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "tea/a.npy", "can/b.npy")
    (tmp_path / "tea").chmod(0)
    try:
        found, (finding,) = scanned(tmp_path)
    finally:
        (tmp_path / "tea").chmod(0o755)
    assert [file.path for file in found] == ["can/b.npy"]
    assert finding.error


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        scanned(tmp_path / "gone")


@pytest.mark.parametrize(
    ("level", "pattern", "path", "signer"),
    [
        (2, None, "tea/ann/a.npy", "ann"),
        (3, None, "tea/day/bob/a.npy", "bob"),
        (2, None, "tea/a.npy", ""),
        (None, r"(?P<signer>[^_/]+)_[^/]*\.npy$", "tea/ann_1.npy", "ann"),
        (None, r"(?P<signer>s\d+)?x", "tea/x.npy", ""),
        (None, r"(?P<signer>s\d+)-", "tea/a.npy", ""),
        (None, None, "tea/ann/a.npy", ""),
    ],
)
def test_where_the_signer_is_named(level: int | None, pattern: str | None, path: str, signer: str) -> None:
    assert SignerNames.of(level, pattern).name(PurePosixPath(path)) == signer


@pytest.mark.parametrize(
    ("level", "pattern", "message"),
    [
        (1, None, "level 1 cannot be the signer"),
        (None, "(", "no regular expression"),
        (None, r"(\w+)_", "does not say which part"),
        (2, "(?P<signer>x)", "not in both"),
    ],
)
def test_signers_that_cannot_be_found_so(level: int | None, pattern: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        SignerNames.of(level, pattern)
    assert refusal.value.mend
