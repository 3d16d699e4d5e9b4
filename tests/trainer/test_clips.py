from __future__ import annotations

import os
from pathlib import Path

import pytest

from contract.errors import DataError
from trainer.clips import find_clips
from trainer.record import Target


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def stems(folder: Path) -> list[str]:
    return [str(clip.stem) for clip in find_clips(folder)]


def test_every_kind_of_video_at_any_depth(tmp_path: Path) -> None:
    names = ["tea/a.mp4", "tea/b.MOV", "tea/s1/c.avi", "té/手.webm", "d.mkv", "e.mp4/inside.mp4"]
    touch(*(tmp_path / name for name in [*names, "tea/notes.txt", "tea/._a.mp4", ".git/x.mp4"]))
    assert stems(tmp_path) == ["d", "e.mp4/inside", "tea/a", "tea/b", "tea/s1/c", "té/手"]


def test_clips_that_differ_in_their_suffix_alone_keep_it(tmp_path: Path) -> None:
    touch(tmp_path / "tea/a.mp4", tmp_path / "tea/a.webm", tmp_path / "tea/b.mp4")
    assert stems(tmp_path) == ["tea/a.mp4", "tea/a.webm", "tea/b"]


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    touch(tmp_path / "videos/tea/a.mp4", tmp_path / "elsewhere/b.mp4")
    (tmp_path / "videos/tea/up").symlink_to("..")
    (tmp_path / "videos/self").symlink_to("self")
    (tmp_path / "videos/cake").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos/tea/gone.mp4").symlink_to("nowhere.mp4")
    assert stems(tmp_path / "videos") == ["cake/b", "tea/a", "tea/gone"]


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_longest_names_can_be_written(tmp_path: Path, letter: str) -> None:
    length = 249 // len(letter.encode())
    touch(tmp_path / "videos" / (letter * length + "1.mp4"), tmp_path / "videos" / (letter * length + "2.mp4"))
    one, two = find_clips(tmp_path / "videos")
    assert one.stem != two.stem
    for clip in (one, two):
        target = Target.under(tmp_path / "out", clip.stem)
        touch(*(path.with_name("." + path.name) for path in (target.keypoints, target.record, target.sheet)))


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no clip"):
        find_clips(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        find_clips(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "tea").mkdir(mode=0)
    with pytest.raises(DataError, match="tea cannot be read"):
        find_clips(tmp_path)
