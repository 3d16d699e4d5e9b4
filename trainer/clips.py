"""The clips of a folder. Enters: the folder. Leaves: each clip, and the name of what is made of it.

Links are followed, circles are not. Hidden files are left out, among them macOS's `._` companions.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from contract.errors import DataError
from trainer.video import VIDEO_SUFFIXES

LONGEST_STEM = 200
"""Bytes of a file's name; with suffixes and a leading dot it stays below every file system's 255."""


@dataclass(frozen=True)
class ClipFile:
    path: Path
    relative: PurePosixPath
    """Below the folder, with its suffix: `<Word>/<clip>.mp4`."""
    stem: PurePosixPath
    """What is made of it is called this plus a suffix: `<Word>/<clip>`."""


def find_clips(folder: Path, suffixes: AbstractSet[str] = VIDEO_SUFFIXES) -> tuple[ClipFile, ...]:
    """Every file below `folder` with one of the suffixes, videos unless told otherwise; sorted.

    Raises:
        DataError: no such folder, a folder in it cannot be read, or no such file in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder", mend="name the one that holds a folder of clips for each word")
    found: list[PurePosixPath] = []
    _walk(folder, PurePosixPath(), frozenset(), suffixes, found)
    if not found:
        kinds = ", ".join(sorted(suffixes))
        raise DataError(f"{folder} holds no clip", why=f"no file ends in {kinds}", mend="put <Word>/<clip>.mp4 there")
    found.sort()
    stems = Counter(relative.with_suffix("") for relative in found)
    return tuple(
        ClipFile(folder / relative, relative, _fitting(relative.with_suffix("") if alone else relative))
        for relative in found
        for alone in [stems[relative.with_suffix("")] == 1]
    )


def _walk(
    root: Path,
    below: PurePosixPath,
    above: frozenset[tuple[int, int]],
    suffixes: AbstractSet[str],
    found: list[PurePosixPath],
) -> None:
    try:
        status = (root / below).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(root / below) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{root / below} cannot be read", why=error.strerror or str(error)) from None
    for name in names:
        if (root / below / name).is_dir():
            _walk(root, below / name, above | {here}, suffixes, found)
        elif PurePosixPath(name).suffix.lower() in suffixes:
            found.append(below / name)


def _fitting(stem: PurePosixPath) -> PurePosixPath:
    """The same, unless its last part is too long to be added to: cut, then, and told apart by a hash."""
    encoded = os.fsencode(stem.name)
    if len(encoded) <= LONGEST_STEM:
        return stem
    cut = encoded[:LONGEST_STEM].decode(errors="ignore")
    return stem.with_name(f"{cut}~{hashlib.sha256(encoded).hexdigest()[:8]}")
