"""What is known of an extracted clip: `<clip>.json`, beside its keypoints.

Enters: a clip's keypoints, or why there are none, and what they were made from. Leaves: both files, whole or not
at all, and the answer to "is there anything to do?". The record is written last, so a clip that was
interrupted is done again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from trainer.atomic import replacing
from trainer.keypoints import Keypoints

Presence = list[list[int]]
"""Per frame 1 or 0 for the left and for the right hand."""


@dataclass(frozen=True)
class Record:
    clip: str
    """Path of the video below its folder."""
    made_from: Mapping[str, object]
    """The cache's key: hashes of clip and model, options, versions."""
    failure: str = ""
    """Why there are no keypoints; everything below is empty then."""
    doubts: tuple[str, ...] = ()
    frames: int = 0
    frames_per_second: float | None = None
    width: int = 0
    height: int = 0
    presence: Presence | tuple[()] = ()
    keypoints_sha256: str = ""

    @property
    def empty_share(self) -> float:
        """Share of frames without a hand, 0 to 1."""
        return sum(not any(hands) for hands in self.presence) / self.frames if self.frames else 1.0


@dataclass(frozen=True)
class Target:
    """The files made of one clip."""

    keypoints: Path
    record: Path
    sheet: Path

    @classmethod
    def under(cls, folder: Path, stem: PurePosixPath) -> Target:
        base = folder / stem.parent
        return cls(*(base / f"{stem.name}{suffix}" for suffix in (".npy", ".json", ".preview.png")))

    def current(self, made_from: Mapping[str, object]) -> Record | None:
        """The record, if it was made from just this and the keypoints are still those it tells of."""
        try:
            content = json.loads(self.record.read_bytes())
            record = Record(**content | {"doubts": tuple(content["doubts"])})
            if record.made_from != made_from:
                return None
            if not record.failure and _hash(self.keypoints.read_bytes()) != record.keypoints_sha256:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return record

    def write(self, record: Record, keypoints: Keypoints | None) -> Record:
        """Both files; for a failure the record alone, and old keypoints are removed. Returns the record, completed."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.sheet.unlink(missing_ok=True)
        if keypoints is None:
            self.keypoints.unlink(missing_ok=True)
        else:
            buffer = io.BytesIO()
            np.save(buffer, keypoints, allow_pickle=False)
            presence = keypoints.any(axis=(2, 3)).astype(int).tolist()
            known = {"frames": len(keypoints), "presence": presence, "keypoints_sha256": _hash(buffer.getvalue())}
            record = Record(**{**asdict(record), **known})
            with replacing(self.keypoints, durable=False) as temporary:
                temporary.write_bytes(buffer.getvalue())
        with replacing(self.record, durable=False) as temporary:
            temporary.write_text(json.dumps(asdict(record)) + "\n", encoding="ascii")  # names need not be UTF-8
        return record

    def write_sheet(self, png: bytes) -> None:
        with replacing(self.sheet, durable=False) as temporary:
            temporary.write_bytes(png)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
