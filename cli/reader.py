"""Shows logs to a person or a program. Enters: `Logs`, and a way into the box for those that grow.

Leaves: bytes on stdout, remarks on stderr, an exit code.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import BinaryIO, TextIO

from cli import logs
from cli.follow import Dial, Follower, Look
from cli.live import Client
from cli.logs import Logs, Piece
from cli.status import Report, exit_code, read_status, report_on
from contract.errors import StorageError
from contract.status import Phase

SILENCE = timedelta(seconds=60)
"""Without a heartbeat AWS is asked whether anything lives at all."""


def read_logs(
    client: Client,
    outputs: Mapping[str, str],
    run: str,
    source: Logs,
    *,
    tail: int | None,
    follow: bool,
    as_json: bool,
    reach: Dial | None = None,
    out: BinaryIO | None = None,
    remarks: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Returns 0, and with `follow` what `signspot status` would return when the run was over; `reach`: see there.

    Raises:
        StorageError: S3 refuses, or there is no such log and nothing to wait for.
    """
    out, remarks = out or sys.stdout.buffer, remarks or sys.stderr
    write = Writer(source, out, remarks, as_json)
    there = logs.everything(source) if tail is None else logs.last_lines(source, tail)
    if follow:
        watch = Watch(client, outputs, run)
        follower = Follower(source, watch.look, reach, sleep, lambda what: print(what, file=remarks, flush=True))
        write(chain(there, follower.pieces()))
        report = watch.report()
        remarks.write(
            f"the run is {report.status.phase}{f': {report.status.reason}' if report.status.reason else ''}\n"
        )
        if report.ending:
            remarks.write(f"{report.ending.message}\n")
        return exit_code(report, datetime.now(UTC))
    write(there)
    if not source.found:
        raise StorageError(
            f"run {run!r} has no such log in S3",
            why="no instance has written one, or --instance names none of them",
            mend=f"signspot logs {run} --boot, or -f to wait for it",
        )
    return 0


class Writer:
    """Bytes as they are, or one JSON object a line; who wrote them is a remark."""

    def __init__(self, source: Logs, out: BinaryIO, remarks: TextIO, as_json: bool) -> None:
        self._source = source
        self._out = out
        self._remarks = remarks
        self._as_json = as_json
        self._instance = ""
        self._told = 0

    def __call__(self, pieces: Iterable[Piece]) -> None:
        for piece in logs.as_lines(pieces) if self._as_json else pieces:
            self._remark(piece.instance)
            data = f"{logs.as_json(piece, self._source.stream)}\n".encode() if self._as_json else piece.data
            self._out.write(data)
            self._out.flush()

    def _remark(self, instance: str) -> None:
        if instance != self._instance:
            self._instance = instance
            self._remarks.write(f"==> {instance} <==\n")
        for gap in self._source.gaps[self._told :]:
            self._remarks.write(f"warning: {gap}\n")
        self._told = len(self._source.gaps)
        self._remarks.flush()


class Watch:
    """Whether a run is over: by its status; while no box says that it is busy, by what lives."""

    def __init__(self, client: Client, outputs: Mapping[str, str], run: str) -> None:
        self._client = client
        self._outputs = outputs
        self._run = run

    def look(self) -> Look:
        status = read_status(self._client("s3"), self._outputs["Bucket"], self._run)
        busy = status.phase in (Phase.BOOTING, Phase.TRAINING) and datetime.now(UTC) - status.heartbeat < SILENCE
        over = status.phase.final or (not busy and self.report().ending is not None)
        return Look(over, status.instance)

    def report(self) -> Report:
        return report_on(self._client, self._outputs, self._run, datetime.now(UTC))
