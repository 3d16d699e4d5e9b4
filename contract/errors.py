"""The one tree of errors, shared by laptop and box.

    SignspotError            exit 1
    ├── ConfigError          exit 2   signspot.toml or a -c override is wrong; nothing was created
    ├── DataError            exit 3   a dataset, keypoint file or model on disk is unusable
    ├── StorageError         exit 4   S3 refused, is unreachable, or holds something that does not verify
    │   └── StaleLease       exit 4   another instance has taken the run over; this one may commit nothing
    ├── CloudError           exit 5   AWS (or the CDK CLI) refused or did not answer
    └── TrainerError         exit 6   the training command failed

Every message has three parts: what happened, why (when known), and what mends it.
They are caught only at the entry points, which print them and exit with `exit_code`.
"""

from __future__ import annotations

from typing import ClassVar


class SignspotError(Exception):
    """Something a person can mend. `str()` gives one readable paragraph."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", mend: str = "") -> None:
        super().__init__(what, why, mend)
        self.what = what
        self.why = why
        self.mend = mend

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"Why: {self.why}")
        if self.mend:
            parts.append(f"Mend: {self.mend}")
        return "\n".join(parts)


class ConfigError(SignspotError):
    exit_code = 2


class DataError(SignspotError):
    exit_code = 3


class StorageError(SignspotError):
    exit_code = 4


class StaleLease(StorageError):
    pass


class CloudError(SignspotError):
    exit_code = 5


class TrainerError(SignspotError):
    exit_code = 6
