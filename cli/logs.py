"""`signspot logs`: what the boxes wrote. Enters: the run's bucket. Leaves: each byte once, attempt by attempt.

Everything here is read from S3: it works with SSH off and after the boxes are gone (`follow.py` adds the box that is
up). Chunks are streamed, so memory does not grow with the log; what is no UTF-8 passes through as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from cli.refusal import refused
from contract.errors import StorageError
from contract.layout import RunLayout

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Stream = Literal["trainer", "boot"]
STREAMS: tuple[Stream, ...] = ("boot", "trainer")
READ_BYTES = 1 << 16
LINE_BYTES = 1 << 20
"""A longer line is cut into several where lines are asked for, so that it need not be held."""


@dataclass(frozen=True)
class Segment:
    """The bytes of one object that no earlier object of the same log holds."""

    instance: str
    key: str
    begin: int
    """Of the object in the log."""
    skip: int
    """Its bytes that are known already: a box that was stopped in between writes a chunk again, longer."""
    size: int

    @property
    def offset(self) -> int:
        return self.begin + self.skip

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True)
class Piece:
    """Some bytes of an instance's log, from `offset` on."""

    instance: str
    offset: int
    data: bytes


class Logs:
    """One stream of a run's logs: of every instance, or of one."""

    def __init__(self, s3: S3Client, bucket: str, run: str, stream: Stream, instance: str = "") -> None:
        self._s3 = s3
        self._bucket = bucket
        self._layout = RunLayout(run)
        self.stream = stream
        self._only = instance
        self._born: dict[str, datetime] = {}
        self._begin: dict[str, int] = {}
        """Of the last object that was listed."""
        self._end: dict[str, int] = {}
        """Of the bytes that are known."""
        self._closed: set[str] = set()
        self.gaps: list[str] = []
        """For a person: bytes that never came to S3."""

    @property
    def found(self) -> bool:
        """Whether there was any byte."""
        return bool(self._end)

    def wants(self, instance: str) -> bool:
        return self._only in ("", instance)

    def position(self, instance: str) -> int:
        """Up to where this instance's log is known."""
        return self._end.get(instance, 0)

    def know(self, instance: str, end: int) -> None:
        """The log up to `end` has come from elsewhere: S3 is asked for what follows."""
        self._end[instance] = end

    def close(self, *, all_but: str) -> None:
        """Ask for no log any more but for that of this instance."""
        self._closed.update(instance for instance in self._born if instance != all_but)

    def restart(self, instance: str) -> None:
        """Its log has begun anew on the box: what S3 has of it is no part of what is read now."""
        self._end[instance] = 0
        self._closed.add(instance)

    def new(self) -> Iterator[Segment]:
        """What has come since it was asked last; at first: all there is.

        A box writes only while it owns the run: the log of one that has a successor is asked for once more, then
        never again.
        """
        instances = self._instances()
        for instance in instances:
            if instance not in self._closed:
                yield from self._segments(instance)
        self._closed.update(instances[:-1])

    def read(self, segment: Segment) -> Iterator[Piece]:
        """Its bytes, in pieces; as many as there were when it was listed, although the object may have grown.

        Raises:
            StorageError: S3 refuses, or went away meanwhile; `new` lists again what did not come.
        """
        offset = segment.offset
        last = segment.skip + segment.size - 1
        try:
            with refused(f"s3://{self._bucket}/{segment.key} cannot be read", StorageError):
                answer = self._s3.get_object(Bucket=self._bucket, Key=segment.key, Range=f"bytes={segment.skip}-{last}")
                for data in answer["Body"].iter_chunks(READ_BYTES):
                    yield Piece(segment.instance, offset, data)
                    offset += len(data)
        except StorageError:
            self._end[segment.instance] = offset
            raise

    def _instances(self) -> list[str]:
        """Those that have such a log, by the age of the oldest object of each."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._layout.logs, Delimiter="/"
        )
        with refused(f"the logs in s3://{self._bucket} cannot be listed", StorageError):
            for found in (found for page in pages for found in page.get("CommonPrefixes", [])):
                instance = PurePosixPath(found["Prefix"]).name
                if instance not in self._born and self.wants(instance):
                    self._note_birth(instance)
        return sorted(self._born, key=lambda instance: self._born[instance])

    def _note_birth(self, instance: str) -> None:
        first: dict[Stream, datetime] = {}
        for stream in STREAMS:
            prefix = self._prefix(instance, stream)
            answer = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=1)
            if "Contents" in answer:
                first[stream] = answer["Contents"][0]["LastModified"]
        if self.stream in first:
            self._born[instance] = min(first.values())

    def _prefix(self, instance: str, stream: Stream) -> str:
        return self._layout.log_chunk(instance, stream, 0).rpartition("/")[0] + "/"

    def _segments(self, instance: str) -> Iterator[Segment]:
        """From the last object known on: it may have grown, or be followed by others."""
        position, begin = self._end.get(instance, 0), self._begin.get(instance, 0)
        prefix = self._prefix(instance, self.stream)
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket,
            Prefix=prefix,
            StartAfter=self._layout.log_chunk(instance, self.stream, begin - 1) if begin else prefix,
        )
        with refused(f"the log of {instance} cannot be listed", StorageError):
            for found in (found for page in pages for found in page.get("Contents", [])):
                begin = int(PurePosixPath(found["Key"]).stem)
                if begin > position:
                    self.gaps.append(f"{instance}: bytes {position} to {begin} of its {self.stream} log are not in S3")
                    position = begin
                if begin + found["Size"] > position:
                    segment = Segment(instance, found["Key"], begin, position - begin, begin + found["Size"] - position)
                    self._begin[instance], self._end[instance] = begin, segment.end
                    position = segment.end
                    yield segment


def everything(logs: Logs) -> Iterator[Piece]:
    """Every byte there is."""
    for segment in logs.new():
        yield from logs.read(segment)


def last_lines(logs: Logs, lines: int) -> Iterator[Piece]:
    """The end of what `everything` gives; read backwards, so that only the end is fetched."""
    segments = list(logs.new())
    newlines, wanted, start = 0, lines, len(segments)
    while start and newlines < wanted:
        start -= 1
        for piece in logs.read(segments[start]):
            newlines += piece.data.count(b"\n")
        if start == len(segments) - 1:
            wanted += piece.data.endswith(b"\n")
    drop = max(0, newlines - wanted + 1)
    for segment in segments[start:]:
        for piece in logs.read(segment):
            data = piece.data
            while drop and b"\n" in data:
                data = data[data.index(b"\n") + 1 :]
                drop -= 1
            if not drop and data:
                yield Piece(piece.instance, piece.offset + len(piece.data) - len(data), data)


def as_lines(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """One piece a line, without its newline; a line ends with its instance, too."""
    held = Piece("", 0, b"")
    for piece in pieces:
        if (piece.instance, piece.offset) != (held.instance, held.offset + len(held.data)):
            if held.data:
                yield held
            held = Piece(piece.instance, piece.offset, b"")
        *whole, rest = (held.data + piece.data).split(b"\n")
        offset = held.offset
        for line in whole:
            yield Piece(piece.instance, offset, line)
            offset += len(line) + 1
        while len(rest) > LINE_BYTES:
            yield Piece(piece.instance, offset, rest[:LINE_BYTES])
            offset, rest = offset + LINE_BYTES, rest[LINE_BYTES:]
        held = Piece(piece.instance, offset, rest)
    if held.data:
        yield held


class LogLine(BaseModel):
    """One line of `signspot logs --json`."""

    instance: str
    stream: Stream
    """Which log: the trainer's, or that of the boot."""
    offset: int
    """Of the line's first byte in the instance's log."""
    line: str
    """Without its newline; a byte that is no UTF-8 is a lone surrogate, U+DC80 to U+DCFF."""


def as_json(line: Piece, stream: Stream) -> str:
    """A `LogLine`; a byte that is no UTF-8 is written as a lone surrogate, and comes back by `surrogateescape`."""
    text = line.data.decode("utf-8", "surrogateescape")
    return json.dumps({"instance": line.instance, "stream": stream, "offset": line.offset, "line": text})
