from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from trainer import check
from trainer.check import MAX_FRAMES, Clip, Finding, balance_lines, check_clips, check_table, finding_lines, read_clip
from trainer.table import Row


def row(path: str, label: str = "tea", split: str = "train", signer: str = "") -> Row:
    return Row(0, path, label, split, signer)


def clip(content: bytes = b"", frames: int = 20, hands: int = 20) -> Clip:
    return Clip(b"", content, frames, hands)


def only(findings: list[Finding], kind: str) -> Finding:
    (found,) = [finding for finding in findings if finding.kind == kind]
    return found


def test_what_a_clip_holds(tmp_path: Path) -> None:
    array = np.ones((5, 2, 21, 3), np.float32)
    array[3] = 0
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", array.astype(np.float64))
    one, keypoints = read_clip(tmp_path / "a.npy", "a.npy")
    other, _ = read_clip(tmp_path / "b.npy", "b.npy")
    assert (one.frames, one.frames_with_hand, len(keypoints)) == (5, 4, 5)
    assert one.content == other.content
    assert one.file != other.file


def test_a_ten_thousand_frame_clip_is_read_and_told(tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.ones((10_000, 2, 21, 3), np.float32))
    found, _ = read_clip(tmp_path / "long.npy", "long.npy")
    finding = only(check_clips([row("long.npy")], {"long.npy": found}), "long")
    assert not finding.error
    assert "long.npy has 10000 frames" in finding.text


def test_more_frames_than_memory_bears_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.ones((MAX_FRAMES + 1, 2, 21, 3), np.float16))
    with pytest.raises(DataError, match=r"long\.npy is over-long: 20001 frames"):
        read_clip(tmp_path / "long.npy", "long.npy")


def test_a_file_too_large_for_a_clip_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.npy").open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(DataError, match=r"huge\.npy is over-long: 10000000 MB"):
        read_clip(tmp_path / "huge.npy", "huge.npy")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(DataError, match=r"pipe\.npy is no regular file"):
        read_clip(tmp_path / "pipe.npy", "pipe.npy")


def test_a_link_to_itself_and_a_name_too_long_are_named(tmp_path: Path) -> None:
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    with pytest.raises(DataError, match=r"loop\.npy cannot be read") as refusal:
        read_clip(tmp_path / "loop.npy", "loop.npy")
    assert "symbolic links" in refusal.value.why
    with pytest.raises(DataError, match="cannot be read") as refusal:
        read_clip(tmp_path / ("x" * 300), "x")
    assert "too long" in refusal.value.why


def test_copies_across_splits_or_labels_are_errors_within_one_a_warning() -> None:
    rows = [row("a", split="train"), row("b", split="test"), row("c", "can"), row("d", "cup"), row("e"), row("f")]
    contents = {"a": b"1", "b": b"1", "c": b"2", "d": b"2", "e": b"3", "f": b"3"}
    across, labels, within = check_clips(rows, {path: clip(content) for path, content in contents.items()})
    assert across.error
    assert "several splits: a (tea, train), b (tea, test)" in across.text
    assert labels.error
    assert "several labels: c (can, train), d (cup, train)" in labels.text
    assert not within.error
    assert "counts 2 times" in within.text


def test_clips_without_hand_are_alike_but_no_duplicates() -> None:
    rows = [row("a", "_none"), row("b", "_none", "test")]
    found = check_clips(rows, {"a": clip(hands=0), "b": clip(hands=0)})
    assert [(finding.error, finding.kind) for finding in found] == [(False, "no-hand")] * 2


def test_one_frame_is_a_warning() -> None:
    finding = only(check_clips([row("a")], {"a": clip(frames=1)}), "one-frame")
    assert not finding.error
    assert "a has one frame" in finding.text


def test_a_word_too_few_signers_know_is_missing_and_says_why() -> None:
    rows = [
        *(
            row(f"{signer}{label}", label, split, signer)
            for signer, split in (("x", "train"), ("y", "test"), ("z", "val"))
            for label in ("tea", "can")
        ),
        row("1", "cup", "train", "x"),
        row("2", "cup", "test", "y"),
    ]
    found = check_table(rows)
    assert [finding.kind for finding in found] == ["missing-label"]
    assert found[0].text == "'cup' is missing from val: only x and y signed it"
    untrained = only(check_table([*rows, row("3", "mug", "test", "y"), row("4", "mug", "test", "y")]), "never-trained")
    assert untrained.error
    assert "'mug' is in test but never in train: only y signed it" in untrained.text


def test_a_split_with_few_of_the_words_is_told() -> None:
    rows = [row(f"{label}{split}", label, split) for label in "abc" for split in ("train", "test")]
    found = check_table([*rows, row("1", "a", "val")])
    assert only(found, "thin-split").text.startswith("val has 1 clips of 1 of 3 words")
    assert "thin-split" not in {finding.kind for finding in check_table([*rows, *(row(x, x, "val") for x in "ab")])}


def test_one_example_and_a_whole_split_missing() -> None:
    found = check_table([row("a", "tea"), row("b", "can"), row("c", "can")])
    assert "'tea' has one example" in only(found, "single-example").text
    assert [finding.text[:35] for finding in found if finding.kind == "empty-split"] == [
        "the table has no row in the split v",
        "the table has no row in the split t",
    ]
    assert not any(finding.error for finding in found)


def test_signers_in_several_splits_are_shouted_about() -> None:
    rows = [row("a", signer="x"), row("b", split="test", signer="x"), row("c", split="val", signer="y"), row("d")]
    found = check_table(rows)
    assert "1 of 2 signers (x)" in only(found, "signer").text
    assert "THE SAME PEOPLE" in only(found, "signer").text
    assert "1 of 4 rows name no signer" in only(found, "no-signer").text
    assert not any(
        finding.kind in ("signer", "no-signer") for finding in check_table([row("a"), row("b", split="test")])
    )


def test_labels_that_only_look_the_same() -> None:
    rows = [row("a", "ni\u00f1o"), row("b", "nin\u0303o"), row("c", "Ni\u00f1o"), row("d", "tea")]
    text = only(check_table(rows), "alike-labels").text
    assert text.count("(1)") == 3
    assert "tea" not in text


def test_the_text_is_short_and_has_errors_last() -> None:
    findings = [check.error("file", "bad"), *(check.warning("no-hand", f"{number}") for number in range(9))]
    lines = finding_lines(findings)
    assert lines[-1] == "ERROR  bad"
    assert len(lines) == check.SHOWN + 2
    assert "and 4 more of this kind (no-hand)" in lines[-2]


def test_the_balance_shows_the_smallest_words() -> None:
    rows = [
        row(f"{label}{number}", label * 50)
        for label, count in (("a", 9), ("b", 1), ("c", 5))
        for number in range(count)
    ]
    lines = balance_lines(rows, 2)
    assert [line.split()[0][0] for line in lines[1:3]] == ["b", "c"]
    assert "… 1 more" in lines[3]
    assert lines[-1].split()[:3] == ["all", "words", "15"]
    assert max(map(len, lines)) < 90
