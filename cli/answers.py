"""What `--json` prints of the commands that the trainer carries out: for docs/schemas alone, and checked in its tests.

The trainer prints it itself: neither may import the other.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel

Counts = dict[str, dict[Literal["train", "val", "test"], int]]
"""Clips of a word or a signer in each split."""


class Answered(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Finding(Answered):
    kind: str
    text: str
    """For a person."""


class Table(Answered):
    """Of `signspot dataset`: the table as it is now."""

    table: str
    """Its path."""
    clips: int
    added: int
    """Of these, by this command."""
    splits: str
    """How they were chosen."""
    words: Counts
    signers: Counts
    fingerprint: str | None
    """Of the table and every file in it; None while there are errors."""
    errors: tuple[Finding, ...]
    """Training would refuse them."""
    warnings: tuple[Finding, ...]


class Sample(Answered):
    """Of `signspot sample`."""

    folder: str
    table: str
    sequences: int
    """That are in it, made now or before."""


class Named(Answered):
    clip: str
    """Its path below the folder of clips."""
    why: str
    """For a person."""


class Extraction(Answered):
    """Of `signspot extract`: what is in the folder of keypoints now."""

    folder: str
    clips: int
    """That there are, good or bad."""
    extracted: int
    """Of these, whose keypoints are there."""
    unchanged: int
    """Of these, that were there before."""
    frames: int
    """Of all extracted clips."""
    hand_share: float | None
    """Share of the frames that show a hand, 0 to 1; None where there is no frame."""
    failed: tuple[Named, ...]
    doubtful: tuple[Named, ...]
    """Clips that are worth a look; most of them are among the extracted."""


class Export(Answered):
    """Of `signspot export`."""

    file: str
    bytes: int
    difference: float
    """Of any probability from the model's, at most, on the clips on which the two were compared."""
    clips: int
    """So many."""


class Guess(Answered):
    word: str
    confidence: float
    """Its probability."""


class Answer(Answered):
    """Of one clip or one file of keypoints."""

    file: str
    verdict: Literal["word", "unknown", "no sign"]
    word: str | None
    """None unless the verdict is "word"."""
    confidence: float | None
    top: tuple[Guess, ...]
    """Likeliest first; empty where no hand was seen."""
    frames: int
    doubts: tuple[str, ...]


class Failure(Answered):
    """Of a file of a folder that could not be read."""

    file: str
    failure: str


class Stretch(Answered):
    """Of `--timeline`, and a line of `--camera`."""

    start: float
    """Seconds from the beginning."""
    end: float
    verdict: Literal["word", "unknown", "no sign"]
    word: str | None
    confidence: float | None


class Prediction(RootModel[Answer | tuple[Answer | Failure, ...] | tuple[Stretch, ...] | Stretch]):
    """Of a file; of a folder; of a timeline; of the camera, a line for each word."""
