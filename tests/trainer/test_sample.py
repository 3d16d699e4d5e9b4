from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from tests.cli import schemas
from trainer.dataset import load_dataset
from trainer.keypoints import load_keypoints
from trainer.sample import main, make_sample


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_same_seed_same_bytes(tmp_path: Path, small_sample: Path) -> None:
    make_sample(tmp_path / "again", words=3, signers=4, per_word_and_signer=4)
    make_sample(tmp_path / "other", words=3, signers=4, per_word_and_signer=4, seed=1)
    assert contents(tmp_path / "again") == contents(small_sample)
    assert contents(tmp_path / "other") != contents(small_sample)


def test_a_signer_is_in_one_split_only(small_sample: Path) -> None:
    with (small_sample / "dataset.csv").open(newline="") as table:
        pairs = {(row["signer"], row["split"]) for row in csv.DictReader(table)}
    assert sorted(split for _, split in pairs) == ["test", "train", "train", "val"]
    assert len({signer for signer, _ in pairs}) == 4


def test_clips_differ_in_length_and_miss_hands(small_sample: Path) -> None:
    clips = [load_keypoints(path) for path in sorted(small_sample.rglob("*.npy"))]
    seen = [(clip != 0).any(axis=(2, 3)) for clip in clips]
    assert len(clips) == 48
    assert len({len(clip) for clip in clips}) > 5
    assert any(not frames.any(axis=1).all() for frames in seen)
    assert any(frames[:, 0].any() and not frames[:, 1].any() for frames in seen)
    assert any(frames[:, 1].any() and not frames[:, 0].any() for frames in seen)
    assert all(np.abs(clip[..., :2]).max() < 2 for clip in clips)


def test_both_hands_move_in_some_word(tmp_path: Path) -> None:
    make_sample(tmp_path / "all", signers=4, per_word_and_signer=1)
    clip = load_keypoints(next((tmp_path / "all/keypoints/more").iterdir()))
    assert (clip != 0).any(axis=(2, 3)).all(axis=1).any()


def test_a_complete_sample_is_left_alone(tmp_path: Path) -> None:
    first = make_sample(tmp_path / "sample", words=2, signers=4, per_word_and_signer=1)
    before = contents(tmp_path / "sample")
    assert make_sample(tmp_path / "sample", seed=5) == first == 8
    assert contents(tmp_path / "sample") == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"without a dataset\.csv"):
        make_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("wrong", [{"words": 1}, {"words": 99}, {"signers": 3}, {"per_word_and_signer": 0}])
def test_impossible_samples_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match="no sample of"):
        make_sample(tmp_path / "sample", **wrong)


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        make_sample(tmp_path / "sample")
    assert not list(tmp_path.iterdir())


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 3
    assert "name an empty or a new folder" in capsys.readouterr().err
    assert main([str(tmp_path / "sample")]) == 0
    assert "holds 1024 sequences" in capsys.readouterr().out
    assert main([str(tmp_path / "sample"), "--json"]) == 0
    folder = str(tmp_path / "sample")
    assert schemas.check("sample", capsys.readouterr().out) == {
        "folder": folder,
        "table": f"{folder}/dataset.csv",
        "sequences": 1024,
    }
    dataset = load_dataset(tmp_path / "sample")
    assert len(dataset.labels) == 8
