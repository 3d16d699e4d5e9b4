from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import ConfigError, DataError
from tests.cli import schemas
from trainer import prepare as command
from trainer.dataset import load_dataset
from trainer.prepare import Plan, Report, main, prepare
from trainer.scan import SignerNames

REPOSITORY = Path(__file__).resolve().parents[2]
SIGNS = REPOSITORY.parent / "shared/data/signs"


def save(path: Path, seed: int, frames: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(seed).random((frames, 2, 21, 3), np.float32))


def clips(folder: Path, words: str = "ab", signers: str = "uvwxy", each: int = 2) -> Path:
    for number, (word, signer, repeat) in enumerate((w, s, r) for w in words for s in signers for r in range(each)):
        save(folder / word / signer / f"{signer}_{repeat}.npy", number)
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "dataset.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def kinds(report: Report) -> list[str]:
    return sorted({finding.kind for finding in report.findings})


BY_FOLDER = SignerNames.of(2, None)


def test_without_signers_sixty_twenty_twenty_of_each_word(tmp_path: Path) -> None:
    report = prepare(Plan(clips(tmp_path)))
    rows = table(tmp_path)
    assert list(rows[0]) == ["path", "label", "split", "signer"]
    for word in "ab":
        splits = [row["split"] for row in rows if row["label"] == word]
        assert [splits.count(split) for split in ("train", "val", "test")] == [6, 2, 2]
    assert not report.findings
    assert load_dataset(tmp_path).fingerprint == report.fingerprint


@pytest.mark.parametrize("signers", [BY_FOLDER, SignerNames.of(None, r"(?P<signer>[a-z])_\d\.npy$")])
def test_with_signers_nobody_is_in_two_splits(tmp_path: Path, signers: SignerNames) -> None:
    report = prepare(Plan(clips(tmp_path), signers=signers))
    places = defaultdict(set)
    for row in table(tmp_path):
        assert row["signer"] == row["path"].split("/")[1]
        places[row["signer"]].add(row["split"])
    assert sorted(split for (split,) in places.values()) == ["test", "train", "train", "train", "val"]
    assert not report.findings


def test_the_same_again_writes_nothing_and_the_same_elsewhere_the_same_bytes(tmp_path: Path) -> None:
    prepare(Plan(clips(tmp_path / "one"), signers=BY_FOLDER))
    before = (tmp_path / "one/dataset.csv").stat()
    assert prepare(Plan(tmp_path / "one")).added == 0
    assert (tmp_path / "one/dataset.csv").stat() == before
    prepare(Plan(clips(tmp_path / "two"), signers=BY_FOLDER))
    assert (tmp_path / "one/dataset.csv").read_bytes() == (tmp_path / "two/dataset.csv").read_bytes()


def test_new_files_are_added_and_what_is_there_stays(tmp_path: Path) -> None:
    prepare(Plan(clips(tmp_path, signers="uvwx"), signers=BY_FOLDER))
    before = (tmp_path / "dataset.csv").read_text()
    clips(tmp_path, signers="uz", each=6)
    report = prepare(Plan(tmp_path, signers=BY_FOLDER))
    assert report.added == 20
    assert (tmp_path / "dataset.csv").read_text().startswith(before)
    places = defaultdict(set)
    for row in table(tmp_path):
        places[row["signer"]].add(row["split"])
    assert all(len(splits) == 1 for splits in places.values())


def test_resplit_parts_signers_that_a_table_mixes_and_keeps_other_columns(tmp_path: Path) -> None:
    clips(tmp_path)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.npy"))
    lines = [
        f"{name},{name[0]},{('train', 'val', 'test', 'train')[number % 4]},{name[2]},s{number}"
        for number, name in enumerate(names)
    ]
    (tmp_path / "dataset.csv").write_text("\n".join(["path,label,split,signer,session", *lines]))
    before = (tmp_path / "dataset.csv").read_bytes()
    report = prepare(Plan(tmp_path))
    assert "signer" in kinds(report)
    assert (tmp_path / "dataset.csv").read_bytes() == before
    report = prepare(Plan(tmp_path, resplit=True))
    assert not report.findings
    assert [row["session"] for row in table(tmp_path)] == [f"s{number}" for number in range(len(names))]
    assert [row["path"] for row in table(tmp_path)] == names


def test_signers_are_filled_in_and_splits_stay(tmp_path: Path) -> None:
    prepare(Plan(clips(tmp_path)))
    before = [row["split"] for row in table(tmp_path)]
    report = prepare(Plan(tmp_path, signers=BY_FOLDER))
    assert [row["split"] for row in table(tmp_path)] == before
    assert {row["signer"] for row in table(tmp_path)} == set("uvwxy")
    assert "signer" in kinds(report)


def test_random_when_asked_for_or_when_there_is_one_signer(tmp_path: Path) -> None:
    asked = prepare(Plan(clips(tmp_path / "asked"), signers=BY_FOLDER, random=True))
    alone = prepare(Plan(clips(tmp_path / "alone", signers="u", each=10), signers=BY_FOLDER))
    assert kinds(asked) == kinds(alone) == ["random-split", "signer"]
    assert "u is the only signer" in alone.findings[0].text


def test_grouped_by_another_column(tmp_path: Path) -> None:
    prepare(Plan(clips(tmp_path)))
    rows = table(tmp_path)
    with (tmp_path / "dataset.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "session"])
        writer.writeheader()
        writer.writerows(row | {"session": row["path"].split("/")[1]} for row in rows)
    prepare(Plan(tmp_path, resplit=True, group_by="session"))
    assert len({(row["session"], row["split"]) for row in table(tmp_path)}) == 5
    with pytest.raises(ConfigError, match="no row has a camera"):
        prepare(Plan(tmp_path, group_by="camera"))


def test_copies_stay_in_one_split(tmp_path: Path) -> None:
    clips(tmp_path)
    for path in sorted(tmp_path.rglob("*.npy")):
        shutil.copy(path, path.with_stem(f"{path.stem}-copy"))
    report = prepare(Plan(tmp_path))
    assert kinds(report) == ["duplicate"]
    assert not report.errors
    load_dataset(tmp_path)


def bad_files(folder: Path) -> dict[str, str]:
    """Files of every kind that cannot be used, and what is said of each."""
    good = np.ones((4, 2, 21, 3), np.float32)
    nan, infinite = good.copy(), good.copy()
    nan[2, 0, 0, 0], infinite[1, 0, 0, 0] = np.nan, np.inf
    (folder / "a").mkdir(exist_ok=True)
    for name, array in {"nan": nan, "inf": infinite, "shape": good[:, :1], "none": good[:0]}.items():
        np.save(folder / "a" / f"{name}.npy", array)
    np.save(folder / "a/long.npy", np.zeros((20_001, 2, 21, 3), np.float32))
    (folder / "a/empty.npy").write_bytes(b"")
    (folder / "a/text.npy").write_text("a video that is a text file")
    (folder / "a/cut.npy").write_bytes((folder / "a/nan.npy").read_bytes()[:-9])
    (folder / "a/loop.npy").symlink_to("loop.npy")
    (folder / "a/gone.npy").symlink_to("nowhere.npy")
    return {
        "nan": "NaN or infinite values, first in frame 2",
        "inf": "NaN or infinite values, first in frame 1",
        "shape": "has the shape (4, 1, 21, 3)",
        "none": "has no frame",
        "long": "is over-long: 20001 frames",
        "empty": "is not a .npy",
        "text": "is not a .npy",
        "cut": "is not a .npy",
        "loop": "cannot be read: Too many levels of symbolic links",
        "gone": "does not exist",
    }


def test_every_unusable_file_is_named_and_left_out(tmp_path: Path) -> None:
    expected = bad_files(clips(tmp_path))
    report = prepare(Plan(tmp_path))
    texts = {finding.text.split(".npy")[0]: finding.text for finding in report.errors}
    assert texts.keys() == {f"a/{name}" for name in expected}
    for name, text in expected.items():
        assert text in texts[f"a/{name}"]
    assert len(table(tmp_path)) == 20
    assert report.fingerprint == ""
    load_dataset(tmp_path)


def test_a_file_of_the_table_that_is_gone_or_damaged_is_an_error_and_its_row_stays(tmp_path: Path) -> None:
    prepare(Plan(clips(tmp_path)))
    before = (tmp_path / "dataset.csv").read_bytes()
    (tmp_path / "a/u/u_0.npy").unlink()
    (tmp_path / "a/u/u_1.npy").write_bytes(b"")
    report = prepare(Plan(tmp_path))
    assert sorted(finding.text.split()[0] for finding in report.errors) == ["a/u/u_0.npy", "a/u/u_1.npy"]
    assert (tmp_path / "dataset.csv").read_bytes() == before


def test_files_whose_words_are_not_where_the_table_has_them_are_not_guessed(tmp_path: Path) -> None:
    clips(tmp_path / "clips")
    prepare(Plan(tmp_path, root="clips"))
    before = (tmp_path / "dataset.csv").read_bytes()
    clips(tmp_path / "clips", signers="z")
    with pytest.raises(ConfigError, match="words are not the folders in") as refusal:
        prepare(Plan(tmp_path))
    assert "--keypoints" in refusal.value.mend
    assert (tmp_path / "dataset.csv").read_bytes() == before
    assert prepare(Plan(tmp_path, root="clips")).added == 4


def test_nothing_usable(tmp_path: Path) -> None:
    bad_files(tmp_path)
    with pytest.raises(DataError, match="holds no usable keypoint file") as refusal:
        prepare(Plan(tmp_path))
    assert "ERROR  a/cut.npy" in str(refusal.value)
    assert not (tmp_path / "dataset.csv").exists()


def test_exit_codes_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips(tmp_path)
    assert main([str(tmp_path), "--signer-from-folder", "2", "--json"]) == 0
    shown: dict[str, Any] = schemas.check("dataset", capsys.readouterr().out)
    assert shown["clips"] == shown["added"] == 20
    assert sum(map(sum, (splits.values() for splits in shown["words"].values()))) == 20
    assert sorted(map(len, shown["signers"].values())) == [3] * 5
    assert shown["fingerprint"] == load_dataset(tmp_path).fingerprint
    assert shown["errors"] == shown["warnings"] == []
    bad_files(tmp_path)
    assert main([str(tmp_path)]) == 3
    assert "errors: 10" in capsys.readouterr().out
    assert main([str(tmp_path), "--json"]) == 3
    shown = schemas.check("dataset", capsys.readouterr().out)
    assert len(shown["errors"]) == 10
    assert shown["fingerprint"] is None
    assert main([str(tmp_path), "--signer-pattern", "("]) == 2
    assert main([str(tmp_path / "missing")]) == 3
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--seed", "-1"])


def test_interrupted_leaves_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(Plan(clips(tmp_path)))
    before = (tmp_path / "dataset.csv").read_bytes()
    clips(tmp_path, signers="z")

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command, "read_clip", interrupted)
    assert main([str(tmp_path)]) == 130
    assert (tmp_path / "dataset.csv").read_bytes() == before


def test_killed_before_the_new_table_is_in_place(tmp_path: Path) -> None:
    prepare(Plan(clips(tmp_path)))
    before = (tmp_path / "dataset.csv").read_bytes()
    clips(tmp_path, signers="z")
    killed = subprocess.run(
        [sys.executable, "-m", "trainer.prepare", str(tmp_path)],
        cwd=REPOSITORY,
        env=os.environ | {"SIGNSPOT_FAILPOINT": "file.replace.before:kill"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "dataset.csv").read_bytes() == before
    assert prepare(Plan(tmp_path)).added == 4
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not SIGNS.is_dir(), reason="the real keypoints are not here")
def test_the_real_signers_are_parted(tmp_path: Path) -> None:
    shutil.copytree(SIGNS, tmp_path / "signs")
    report = prepare(Plan(tmp_path / "signs", resplit=True))
    assert not report.errors
    places = {(row["signer"], row["split"]) for row in table(tmp_path / "signs")}
    assert places == {("s2", "train"), ("s1", "test"), ("s0", "val")}
    large = next(finding for finding in report.findings if "'large'" in finding.text)
    assert large.text == "'large' is missing from val and test: only s2 signed it"


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    folder = clips(tmp_path)
    dry = prepare(Plan(folder, dry_run=True))
    assert not (folder / "dataset.csv").exists() and dry.fingerprint == ""
    wet = prepare(Plan(folder))
    assert (dry.rows, dry.findings, dry.added) == (wet.rows, wet.findings, wet.added)
    assert prepare(Plan(folder, dry_run=True)).fingerprint == wet.fingerprint != ""
