"""Keypoint files in a folder. Enters: `<root>/<Word>/…/*.npy`. Leaves: path, label and signer of each.

Hidden files and folders are passed over. A link to a folder is followed when that folder is not read
anyway, so that no loop is run through and no file is met twice. Labels are in Unicode's NFC form,
whichever form the file system keeps.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from contract.errors import ConfigError, DataError
from trainer.check import Finding, error, warning

KEYPOINTS = "keypoints"
"""The subfolder that `signspot sample` writes to; where it is absent, words are in the folder itself."""

MAX_KEY_BYTES = 900
"""S3 takes keys of 1,024 bytes at most; the rest is left to the prefix of `data.path`."""


@dataclass(frozen=True)
class Found:
    path: str
    """Below the dataset's folder, with slashes."""
    label: str
    signer: str
    """Empty: not known."""


@dataclass(frozen=True)
class SignerNames:
    """Where the signer is named: in a folder, in the file's name, or (neither) nowhere but in the table."""

    level: int | None = None
    """Of the folder below root; 1 is the word."""
    pattern: re.Pattern[str] | None = None
    """Searched in the path below root; its group `signer` is the name."""

    @classmethod
    def of(cls, level: int | None, pattern: str | None) -> SignerNames:
        """
        Raises:
            ConfigError: both are given, the level is the word's, or the pattern is none or has no group `signer`.
        """
        if level is not None and pattern is not None:
            raise ConfigError("signers are in a folder or in a pattern, not in both", mend="give one of the two")
        if level is not None and level < 2:
            raise ConfigError(f"folder level {level} cannot be the signer", mend="1 is the word's; give 2 or more")
        if pattern is None:
            return cls(level)
        try:
            compiled = re.compile(pattern)
        except re.error as refusal:
            raise ConfigError(f"{pattern!r} is no regular expression", why=str(refusal), mend="correct it") from None
        if "signer" not in compiled.groupindex:
            raise ConfigError(
                f"{pattern!r} does not say which part is the signer",
                mend=r"name it (?P<signer>...), for instance '(?P<signer>[^_/]+)_[^/]*\.npy$'",
            )
        return cls(None, compiled)

    def name(self, path: PurePosixPath) -> str:
        """The signer of a path below root; empty when it names none."""
        if self.pattern is not None:
            match = self.pattern.search(path.as_posix())
            name = match["signer"] if match else ""
        elif self.level is not None:
            folders = path.parts[:-1]
            name = folders[self.level - 1] if len(folders) >= self.level else ""
        else:
            name = ""
        return unicodedata.normalize("NFC", name or "").strip()


def scan(folder: Path, root: Path, signers: SignerNames) -> tuple[list[Found], list[Finding]]:
    """Every keypoint file below `root`, sorted by path; `root` is `folder` or below it.

    Raises:
        DataError: `root` is no folder, or cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", mend="name the folder that holds a folder for each word")
    paths, findings = _walk(root)
    found = []
    for below in sorted(paths):
        path = (root / below).relative_to(folder).as_posix()
        label = unicodedata.normalize("NFC", below.parts[0]).strip()
        if problem := _problem(below, path, label):
            findings.append(error("name", f"{_printable(path)} is left out: {problem}"))
            continue
        if len(path.encode()) > MAX_KEY_BYTES:
            text = f"{path} is {len(path.encode())} bytes long: S3 takes 1,024 with the prefix"
            findings.append(warning("long-name", text))
        found.append(Found(path, label, signers.name(below)))
    return found, findings


def _walk(root: Path) -> tuple[list[PurePosixPath], list[Finding]]:
    """Paths below `root` of all `.npy`, and what could not be entered. Real folders come before links."""
    paths: list[PurePosixPath] = []
    findings: list[Finding] = []
    visited: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        name = _printable(folder.relative_to(root).as_posix())
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                findings.append(warning("link", f"{name} links to a folder that is read anyway: not followed"))
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
            inside = dict.fromkeys(path for path in entries if path.is_dir())
        except OSError as refusal:
            if folder == root:
                raise DataError(f"{root} cannot be read", why=refusal.strerror or str(refusal)) from None
            findings.append(error("folder", f"{name} cannot be read: {refusal.strerror}"))
            continue
        for path in inside:
            (links if path.is_symlink() else folders).append(path)
        files = (path for path in entries if path.suffix.lower() == ".npy" and path not in inside)
        paths += [PurePosixPath(path.relative_to(root).as_posix()) for path in files]
    return paths, findings


def _problem(below: PurePosixPath, path: str, label: str) -> str:
    """Why a file cannot be a row of the table; empty when it can."""
    if len(below.parts) < 2:
        return "it is in no word's folder"
    if _printable(path) != path:
        return "its name is not UTF-8"
    if not label or path != path.strip():
        return "its name begins or ends with a space"
    return ""


def _printable(text: str) -> str:
    """The text, with bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
