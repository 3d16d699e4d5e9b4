"""Clips of a bucket as a folder. Enters: `s3://bucket/prefix`. Leaves: this user's copy of the clips below it.

What is here already, as large and as old as there, is not fetched again; what is no longer there goes here, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cli.download import inside, whole
from cli.refusal import refused
from contract.errors import DataError, StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".webm"})
"""As `trainer.video.VIDEO_SUFFIXES`."""
AT_ONCE = 8
"""Downloads; a client of boto3 has 10 connections unless told otherwise."""


@dataclass(frozen=True)
class Clip:
    key: str
    place: Path
    size: int
    modified: datetime

    @property
    def here(self) -> bool:
        try:
            status = self.place.stat()
        except OSError:
            return False
        return status.st_size == self.size and int(status.st_mtime) == int(self.modified.timestamp())


def cache(environment: Mapping[str, str]) -> Path:
    """Where this user keeps what can be had again (XDG Base Directory)."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signspot" / "clips"


def fetch_clips(s3: S3Client, uri: str, cache: Path) -> Path:
    """Returns the folder below `cache` that now holds the clips of `uri`, and no other.

    Raises:
        DataError: there is no clip.
        StorageError: S3 refuses, or a file cannot be written.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    folder = inside(cache, f"{bucket}/{prefix}")
    clips = _listed(s3, bucket, prefix, folder)
    if not clips:
        raise DataError(f"{uri} holds no clip", why=f"no object ends in {', '.join(sorted(SUFFIXES))}")

    def fetch(clip: Clip) -> None:
        with whole(clip.place) as temporary:
            with refused(f"s3://{bucket}/{clip.key} cannot be fetched", StorageError):
                s3.download_file(bucket, clip.key, str(temporary))
            os.utime(temporary, (clip.modified.timestamp(),) * 2)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(fetch, (clip for clip in clips if not clip.here)))
    known = {clip.place for clip in clips}
    for path in folder.rglob("*"):
        if path.is_file() and path not in known:
            path.unlink()
    return folder


def _listed(s3: S3Client, bucket: str, prefix: str, folder: Path) -> list[Clip]:
    with refused(f"s3://{bucket}/{prefix} cannot be listed", StorageError):
        return [
            Clip(one["Key"], inside(folder, one["Key"][len(prefix) :]), one["Size"], one["LastModified"])
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            for one in page.get("Contents", ())
            if PurePosixPath(one["Key"]).suffix.lower() in SUFFIXES
        ]
