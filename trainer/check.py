"""What is wrong with a dataset, said before it is trained from. Enters: rows and their files. Leaves: findings.

An error is what training refuses; a warning is what it goes on with, and someone should know.
"""

from __future__ import annotations

import hashlib
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.errors import DataError
from trainer.keypoints import AXES, HANDS, LANDMARKS, Keypoints, parse_keypoints
from trainer.table import SPLITS, Row

LONG_FRAMES = 1_000
"""33 s at 30 frames/s: no single sign takes so long."""
MAX_FRAMES = 20_000
"""A batch of 32 padded to this is 340 MB before the first layer: more is refused rather than run out of memory."""
_MAX_BYTES = MAX_FRAMES * HANDS * LANDMARKS * AXES * 8 + 2**16
"""As float64, the widest there is, and a header."""

_WITHOUT = {
    "val": "early stopping watches the training loss",
    "test": "no accuracy on unseen clips is reported",
}

SHOWN = 5
"""Findings of one kind that are written out as text."""


@dataclass(frozen=True)
class Finding:
    error: bool
    kind: str
    """A word for programs: file, duplicate, signer, …"""
    text: str

    def __str__(self) -> str:
        return f"{'ERROR' if self.error else 'WARNING'}  {self.text}"


def error(kind: str, text: str) -> Finding:
    return Finding(True, kind, text)


def warning(kind: str, text: str) -> Finding:
    return Finding(False, kind, text)


@dataclass(frozen=True, slots=True)
class Clip:
    """What one keypoint file holds."""

    file: bytes
    """SHA-256 of its bytes."""
    content: bytes
    """SHA-256 of its numbers as float32: the same clip saved twice, however it was saved."""
    frames: int
    frames_with_hand: int


def read_clip(path: Path, name: str) -> tuple[Clip, Keypoints]:
    """Read and check one file; never more of it than `MAX_FRAMES` can take.

    Raises:
        DataError: it is missing, unreadable, too long, or what `parse_keypoints` refuses. The message starts
            with `name`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{name} is no regular file", mend="remove it, or its row from the table")
        if status.st_size > _MAX_BYTES:
            raise _too_long(name, f"{status.st_size / 1e6:.0f} MB are")
        file = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{name} does not exist", mend="bring the file back, or remove its row") from None
    except OSError as refusal:
        raise DataError(f"{name} cannot be read", why=refusal.strerror or str(refusal)) from None
    keypoints = parse_keypoints(file, name)
    if len(keypoints) > MAX_FRAMES:
        raise _too_long(name, f"{len(keypoints)} frames are")
    hands = int((keypoints != 0).any(axis=(1, 2, 3)).sum())
    sha256 = hashlib.sha256
    return Clip(sha256(file).digest(), sha256(keypoints.tobytes()).digest(), len(keypoints), hands), keypoints


def check_table(rows: Sequence[Row]) -> list[Finding]:
    """What the table alone shows: labels that a split lacks, signers in several splits."""
    return [*_check_splits(rows), *_check_labels(rows), *_check_signers(rows)]


def check_clips(rows: Iterable[Row], clips: Mapping[str, Clip]) -> list[Finding]:
    """What the files show; `clips` by path, files that could not be read are not in it."""
    found: list[Finding] = []
    same: dict[bytes, list[Row]] = defaultdict(list)
    for row in rows:
        if (clip := clips.get(row.path)) is None:
            continue
        if clip.frames == 1:
            found.append(warning("one-frame", f"{row.path} has one frame: no movement to learn from"))
        if clip.frames >= LONG_FRAMES:
            text = f"{row.path} has {clip.frames} frames: cut it to the sign, for all of its batch is padded to it"
            found.append(warning("long", text))
        if clip.frames_with_hand:
            same[clip.content].append(row)
        else:
            found.append(warning("no-hand", f"{row.path} ({row.label}) shows no hand in any frame"))
    return [*found, *(_duplicate(copies) for copies in same.values() if len(copies) > 1)]


def balance(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """How many sequences each label has in each split; labels sorted."""
    counted = Counter((row.label, row.split) for row in rows)
    return {label: {split: counted[label, split] for split in SPLITS} for label in sorted({key[0] for key in counted})}


def balance_lines(rows: Sequence[Row], limit: int) -> list[str]:
    """The balance as text; of more labels than `limit`, those with the fewest sequences in train."""
    counts = balance(rows)
    shown = sorted(sorted(counts, key=lambda label: counts[label]["train"])[:limit])
    names = [label if len(label) <= 32 else f"{label[:31]}…" for label in shown]
    width = max(len(name) for name in (*names, "all words"))
    lines = [f"{'':{width}}" + "".join(f"{split:>8}" for split in SPLITS)]
    for name, label in zip(names, shown, strict=True):
        lines.append(f"{name:{width}}" + "".join(f"{counts[label][split]:8}" for split in SPLITS))
    if len(counts) > len(shown):
        lines.append(f"… {len(counts) - len(shown)} more, with at least as many in train")
    total = Counter(row.split for row in rows)
    shares = " / ".join(f"{total[split] / len(rows):.0%}" for split in SPLITS)
    lines.append(f"{'all words':{width}}" + "".join(f"{total[split]:8}" for split in SPLITS) + f"   {shares}")
    return lines


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Findings as text, errors last, the first few of each kind."""
    kinds: dict[tuple[bool, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.error, finding.kind].append(finding)
    lines = []
    for (_, kind), several in sorted(kinds.items()):
        lines += [str(finding) for finding in several[:SHOWN]]
        if len(several) > SHOWN:
            lines.append(f"         … and {len(several) - SHOWN} more of this kind ({kind})")
    return lines


def _too_long(name: str, what: str) -> DataError:
    return DataError(f"{name} is over-long: {what} more than {MAX_FRAMES} frames take", mend="cut it into single signs")


def _check_splits(rows: Sequence[Row]) -> list[Finding]:
    """Splits that are empty, or nearly."""
    counts, found = balance(rows), []
    for split in SPLITS:
        present = [numbers[split] for numbers in counts.values() if numbers[split]]
        if not present and split == "train":
            found.append(error("empty-split", "the table has no row in the split train: put about 60 % there"))
        elif not present:
            text = f"the table has no row in the split {split}: {_WITHOUT[split]}"
            found.append(warning("empty-split", text))
        elif len(present) < len(counts) / 2 and split != "train":
            text = f"{split} has {sum(present)} clips of {len(present)} of {len(counts)} words: what is measured there"
            found.append(warning("thin-split", f"{text} says little about the others; more signers would help"))
    return found


def _check_labels(rows: Sequence[Row]) -> list[Finding]:
    """Labels that are rare, that a split lacks, or that only look like one."""
    counts, found = balance(rows), []
    by_label: dict[str, list[Row]] = defaultdict(list)
    forms: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    filled = {row.split for row in rows}
    for label, numbers in counts.items():
        forms[unicodedata.normalize("NFKC", label).casefold()].append(label)
        if sum(numbers.values()) == 1:
            found.append(warning("single-example", f"{label!r} has one example: it can be trained or tested, not both"))
        missing = [split for split in SPLITS if not numbers[split] and split in filled]
        reason = _why_missing(by_label[label])
        if "train" in missing:
            first = by_label[label][0]
            where = f"line {first.line}: " if first.line else ""
            text = f"{where}the label {label!r} is in {first.split} but never in train{reason}"
            found.append(error("never-trained", f"{text}; add clips of it, or remove it"))
        elif missing:
            found.append(warning("missing-label", f"{label!r} is missing from {' and '.join(missing)}{reason}"))
    for alike in forms.values():
        if len(alike) > 1:
            names = " and ".join(f"{label!r} ({sum(counts[label].values())})" for label in alike)
            found.append(warning("alike-labels", f"{names} look the same but are trained as different words"))
    return found


def _why_missing(rows: Sequence[Row]) -> str:
    signers = sorted({row.signer for row in rows if row.signer})
    if not signers or len(signers) >= len(SPLITS):
        return ""
    return f": only {' and '.join(signers)} signed it"


def _check_signers(rows: Sequence[Row]) -> list[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row.signer].add(row.split)
    unknown = splits.pop("", None)
    if not splits:
        return []
    found = []
    shared = sorted(signer for signer, places in splits.items() if len(places) > 1)
    if shared:
        names = ", ".join(shared[:SHOWN]) + (f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else "")
        text = (
            f"THE SAME PEOPLE ARE TRAINED AND TESTED: {len(shared)} of {len(splits)} signers ({names}) are in more "
            "than one split, so the accuracy says nothing about a new person; --resplit of signspot dataset parts them"
        )
        found.append(warning("signer", text))
    if unknown:
        number = sum(1 for row in rows if not row.signer)
        found.append(warning("no-signer", f"{number} of {len(rows)} rows name no signer: they may be anyone's"))
    return found


def _duplicate(copies: Sequence[Row]) -> Finding:
    names = ", ".join(f"{row.path} ({row.label}, {row.split})" for row in copies[:SHOWN])
    names += f" and {len(copies) - SHOWN} more" if len(copies) > SHOWN else ""
    if len({row.split for row in copies}) > 1:
        return error("duplicate", f"the same clip is in several splits: {names}; keep one of them")
    if len({row.label for row in copies}) > 1:
        return error("duplicate", f"the same clip has several labels: {names}; keep the right one")
    return warning("duplicate", f"the same clip counts {len(copies)} times: {names}")
