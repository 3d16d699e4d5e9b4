from __future__ import annotations

import errno
import hashlib
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from trainer.batches import make_batch, make_varied_batch
from trainer.dataset import load_dataset
from trainer.normalise import normalise
from trainer.stop import Stopped

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
    assert dataset.train.features.lengths.tolist() == [2, 3]


def test_keypoints_of_train_are_kept_where_they_are_varied(tmp_path: Path) -> None:
    write(tmp_path, "path,label,split\nb.npy,tea,train\na.npy,tea,test\n")
    dataset = load_dataset(tmp_path, augmented=True)
    assert dataset.train.keypoints is not None
    np.testing.assert_array_equal(dataset.train.keypoints[0], np.load(tmp_path / "b.npy"))
    assert len(dataset.train.keypoints) == 1
    assert dataset.test.keypoints is None
    assert load_dataset(tmp_path).train.keypoints is None


def test_features_are_the_normalised_files(tmp_path: Path) -> None:
    write(tmp_path, "path,label,split\nb.npy,tea,train\na.npy,tea,test\n")
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.train.features[0], normalise(np.load(tmp_path / "b.npy")))
    np.testing.assert_array_equal(dataset.test.features[0], normalise(np.load(tmp_path / "a.npy")))


def test_its_files_are_where_they_are_wanted_and_full_disks_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "path,label,split\na.npy,tea,train\n")
    (tmp_path / "scratch").mkdir()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DataError, match=r"temporary copy cannot be written in .*scratch") as refusal:
        load_dataset(tmp_path, scratch=tmp_path / "scratch")
    assert refusal.value.why == "No space left on device"


def test_loading_can_be_stopped(tmp_path: Path) -> None:
    calls = []

    def check_stop() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        load_dataset(write(tmp_path, "path,label,split\na.npy,tea,train\nb.npy,tea,train\n"), check_stop=check_stop)


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """48 MB of keypoints, and as much again of features; a clip may take what a clip takes."""
    names = [f"{number}.npy" for number in range(16)]
    clip = np.random.default_rng(0).random((6000, 2, 21, 3), np.float32)
    for number, name in enumerate(names):
        clip[0] = number
        np.save(tmp_path / name, clip)
    rows = "".join(f"{name},tea,train\n" for name in names)
    (tmp_path / "dataset.csv").write_text(f"path,label,split\n{rows}")
    tracemalloc.start()
    try:
        dataset = load_dataset(tmp_path, augmented=True)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert dataset.train.features.lengths.sum() == 16 * 6000
    assert kept < 1e6
    assert peak < 12 * clip.nbytes


def test_a_label_that_is_never_trained_is_refused_before_a_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "dataset.csv").write_text("path,label,split\na.npy,tea,train\nb.npy,can,test\n")
    with pytest.raises(DataError, match="line 3: the label 'can' is in test but never in train") as refusal:
        load_dataset(tmp_path)
    assert "a.npy" not in str(refusal.value)
    assert "signspot dataset" in refusal.value.mend


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.csv").write_text("path,label,split\na.npy,tea,val\n")
    with pytest.raises(DataError, match="no row in the split train"):
        load_dataset(tmp_path)


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


def test_every_bad_file_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, "path,label,split\na.npy,tea,train\nb.npy,can,train\nc.npy,can,train\n")
    (tmp_path / "a.npy").write_bytes(b"")
    np.save(tmp_path / "c.npy", np.full((3, 2, 21, 3), np.nan, np.float32))
    with pytest.raises(DataError, match=r"a\.npy \(line 2") as refusal:
        load_dataset(tmp_path)
    assert "c.npy (line 4 of dataset.csv) holds NaN" in str(refusal.value)
    assert "b.npy" not in str(refusal.value)


def test_the_same_clip_in_two_splits_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "path,label,split\na.npy,tea,train\nd.npy,tea,test\n")
    np.save(tmp_path / "d.npy", np.load(tmp_path / "a.npy").astype(np.float64))
    with pytest.raises(DataError, match=r"the same clip is in several splits: a\.npy \(tea, train\), d\.npy"):
        load_dataset(tmp_path)


def test_the_log_hears_of_balance_and_warnings(tmp_path: Path) -> None:
    notes = load_dataset(
        write(tmp_path, "path,label,split,signer\na.npy,tea,train,x\nb.npy,tea,train,x\nc.npy,tea,test,x\n")
    ).notes
    assert any(note.split()[:4] == ["tea", "2", "0", "1"] for note in notes)
    assert any("THE SAME PEOPLE ARE TRAINED AND TESTED: 1 of 1 signers (x)" in note for note in notes)
    assert any("no row in the split val: early stopping watches the training loss" in note for note in notes)


def test_one_frame_ten_thousand_frames_and_one_example_are_trained_from(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, frames in (("one", 1), ("long", 10_000), ("usual", 30)):
        np.save(tmp_path / f"{name}.npy", random.random((frames, 2, 21, 3), np.float32))
    (tmp_path / "dataset.csv").write_text("path,label,split\none.npy,a,train\nlong.npy,b,train\nusual.npy,a,train\n")
    dataset = load_dataset(tmp_path, augmented=True)
    everything = np.arange(3)
    features, targets = make_batch(dataset.train, everything)
    assert features.shape[:2] == (3, 10_000)
    assert targets.tolist() == [0, 1, 0]
    varied, _ = make_varied_batch(dataset.train, everything, seed=0, train_epoch=0)
    assert np.isfinite(features).all() and np.isfinite(varied).all()
    assert varied[:, 0, -1].tolist() == [1, 1, 1]
    for warning in ("one.npy has one frame", "long.npy has 10000 frames", "'b' has one example"):
        assert any(warning in note for note in dataset.notes), warning


def test_names_in_any_script_and_of_any_length(tmp_path: Path) -> None:
    names = {"手话": "手話", "ü" * 100: "é" * 2000, "x" * 251: "a b\u200d🤟", "שלום": "x"}
    for number, name in enumerate(names):
        np.save(tmp_path / f"{name}.npy", np.full((3, 2, 21, 3), 0.5 + number, np.float32))
    rows = "".join(f"{name}.npy,{label},train\n" for name, label in names.items())
    (tmp_path / "dataset.csv").write_text(f"path,label,split\n{rows}", encoding="utf-8")
    dataset = load_dataset(tmp_path)
    assert dataset.labels == tuple(sorted(names.values()))
    assert [dataset.labels[target] for target in dataset.train.targets] == list(names.values())


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    (tmp_path / "dataset.csv").write_text("path,label,split\nloop.npy,a,train\n")
    with pytest.raises(DataError, match=r"loop\.npy \(line 2 of dataset\.csv\) cannot be read: .*symbolic link"):
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
    write(tmp_path, table.replace("b.npy,can,train", "b.npy,can,train\nc.npy,can,test"))
    tested = load_dataset(tmp_path).fingerprint
    write(tmp_path, table.replace("b.npy,can,train", "b.npy,can,train\nc.npy,can,train"))
    trained = load_dataset(tmp_path).fingerprint
    assert len({first, relabelled, changed, tested, trained}) == 5


def test_the_fingerprint_is_what_earlier_checkpoints_have(tmp_path: Path) -> None:
    table = "path,label,split\na.npy,tea,train\nb.npy,can,train\n"
    write(tmp_path, table)
    digest = hashlib.sha256(table.encode())
    for name in ("a.npy", "b.npy"):
        digest.update(hashlib.sha256((tmp_path / name).read_bytes()).digest())
    assert load_dataset(tmp_path).fingerprint == digest.hexdigest()


@pytest.mark.skipif(not SIGNS.is_dir(), reason="the real keypoints are not here")
def test_the_real_keypoints_load() -> None:
    dataset = load_dataset(SIGNS)
    assert len(dataset.labels) == 14
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [1428, 313, 299]
    assert all(np.isfinite(features).all() for features in dataset.train.features)
    assert any("3 of 3 signers (s0, s1, s2) are in more than one split" in note for note in dataset.notes)
