"""Brings a run's results home. Enters: the run's name. Leaves: a folder in which every file verifies.

    model/                       what `signspot predict` takes; there once the run is done
    checkpoints/<id>/            the newest and the best
    logs/<instance>/<stream>.log
    events.jsonl  status.json  metrics.json
    report.html                  what the box that ended the run wrote of all of it

What a manifest describes is checked against it, and is not fetched again when it is here and verifies. Logs, events,
status and report have none and still grow: they are fetched anew each time.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from cli.download import MISSING, DoesNotVerify, FetchedSet, Item, bar, download, inside, verify, whole
from cli.refusal import code_of, refused
from contract.errors import CloudError, StorageError
from contract.layout import RunLayout
from contract.report import FILE
from contract.status import Latest, Manifest, Record, Status

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_s3.client import S3Client
    from rich.console import Console

DOWNLOADS_AT_ONCE = 8
CHUNK = re.compile(r"(?P<instance>[^/]+)/(?P<stream>[^/]+)/(?P<offset>\d+)\.log")
"""A log chunk's key below `RunLayout.logs`."""

AnyRecord = TypeVar("AnyRecord", bound=Record)
Say = Callable[[str, str], None]
"""Who, and what there is to say."""


class NoSuchRun(CloudError):
    """There is no stack of that run in this account and region."""


def stack_outputs(cloudformation: CloudFormationClient, run: str) -> dict[str, str]:
    """The outputs of the run's stack.

    Raises:
        NoSuchRun: there is no such stack in this account and region.
        CloudError: it was never made whole, or AWS refuses.
    """
    try:
        with refused(f"the stack of run {run!r} cannot be looked up"):
            stack = cloudformation.describe_stacks(StackName=f"signspot-{run}")["Stacks"][0]
    except CloudError as error:
        if code_of(error.__cause__) != "ValidationError":
            raise
        raise NoSuchRun(
            f"the stack of run {run!r} cannot be found",
            why=error.why,
            mend="check the run's name, the region (AWS_REGION) and the account (AWS_PROFILE)",
        ) from error
    if not stack.get("Outputs"):
        raise CloudError(
            f"the stack of run {run!r} is {stack['StackStatus']} and has no outputs yet",
            why=stack.get("StackStatusReason", ""),
            mend=f"wait until it is made; if that failed, signspot destroy {run} removes what there is",
        )
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def run_bucket(cloudformation: CloudFormationClient, run: str) -> str:
    return stack_outputs(cloudformation, run)["Bucket"]


class Home(BaseModel):
    """What came home of a run; with `--only model` its model alone."""

    run: str
    folder: str
    model: FetchedSet | None
    """None: there is none; `notes` says why."""
    checkpoints: tuple[FetchedSet, ...] = ()
    """The newest first, then the best where that is another one."""
    phase: str | None = None
    """As the box said last; None: it never did, or was not asked for."""
    logs: int = 0
    """Files, one for each instance and stream."""
    events: int = 0
    report: str | None = None
    """Path of the page that the box wrote when the run ended; None: there is none, or it was not asked for."""
    notes: tuple[str, ...] = ()
    """What a person should know about what did not come."""


@dataclass
class Fetched:
    """What came home; every set in it verified against its manifest."""

    folder: Path
    model: Manifest | None = None
    checkpoints: list[Manifest] = field(default_factory=list)
    """The newest first."""
    status: Status | None = None
    streams: int = 0
    """Logs, one per instance and stream."""
    events: int = 0
    report: Path | None = None
    """As the box that ended the run wrote it; None: there is none yet."""
    notes: list[str] = field(default_factory=list)
    """What a person should know about what did not come."""

    def told(self, run: str) -> Home:
        folder, model = self.folder, self.model
        return Home(
            run=run,
            folder=str(folder),
            model=FetchedSet.of(folder / "model", model) if model else None,
            checkpoints=tuple(FetchedSet.of(folder / "checkpoints" / one.id, one) for one in self.checkpoints),
            phase=str(self.status.phase) if self.status else None,
            logs=self.streams,
            events=self.events,
            report=str(self.report) if self.report else None,
            notes=tuple(self.notes),
        )

    def verify(self) -> None:
        """Flush all of it to this disk and read it once more: before that nothing is deleted that came from S3.

        Raises:
            StorageError: a file is not what it should be.
        """
        os.sync()  # one by one, thousands of small files would take minutes
        if self.model:
            verify(self.folder / "model", self.model)
        for manifest in self.checkpoints:
            verify(inside(self.folder / "checkpoints", manifest.id), manifest)


def fetch_model(s3: S3Client, bucket: str, run: str, target: Path) -> Manifest:
    """Download the model alone into `target`.

    Raises:
        StorageError: there is no model yet, S3 refuses, or a file does not verify.
    """
    source = Source(s3, bucket, RunLayout(run))
    manifest = source.read(source.layout.model_manifest, Manifest)
    if manifest is None:
        raise StorageError(f"run {run!r} has no finished model in s3://{bucket}", mend="wait until the run is done")
    source.fetch_set("model", manifest, source.layout.model, target)
    return manifest


def fetch_run(s3: S3Client, bucket: str, run: str, folder: Path, console: Console | None, say: Say) -> Fetched:
    """Download everything of the run that is worth keeping into `folder`; says each part when it is here.

    Progress is shown where `console` is a terminal.

    Raises:
        StorageError: S3 refuses, the model does not verify, or no checkpoint does although there are some.
    """
    source = Source(s3, bucket, RunLayout(run), console)
    fetched = Fetched(folder, status=source.read(source.layout.status, Status))
    fetched.model = source.read(source.layout.model_manifest, Manifest)
    if fetched.model:
        size = source.fetch_set("model", fetched.model, source.layout.model, folder / "model")
        say("fetch", f"model in {folder / 'model'}: {len(fetched.model.files)} files, {size}, every hash verified")
    else:
        phase = fetched.status.phase if fetched.status else "pending"
        fetched.notes.append(f"there is no model: the run is {phase}, not done")
    _fetch_checkpoints(source, fetched, say)
    _fetch_logs(source, fetched)
    _fetch_events(source, fetched)
    if fetched.status:
        _write(folder / "status.json", fetched.status.model_dump_json(indent=2))
        _write(folder / "metrics.json", fetched.status.progress.model_dump_json(indent=2))
    besides = ", status and metrics" if fetched.status else ""
    say("fetch", f"{fetched.streams} logs, {fetched.events} events{besides} in {folder}")
    _fetch_report(source, fetched, say)
    return fetched


class Source:
    """A run's part of a bucket, read only."""

    def __init__(self, s3: S3Client, bucket: str, layout: RunLayout, console: Console | None = None) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.layout = layout
        self.console = console

    def get(self, key: str) -> bytes | None:
        """The object; None where there is none."""
        with refused(f"s3://{self.bucket}/{key} cannot be read", StorageError):
            try:
                return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise

    def read(self, key: str, record: type[AnyRecord]) -> AnyRecord | None:
        body = self.get(key)
        try:
            return None if body is None else record.model_validate_json(body)
        except ValidationError as error:
            raise StorageError(f"s3://{self.bucket}/{key} is not what it should be", why=str(error)) from error

    def keys(self, prefix: str) -> list[str]:
        with refused(f"s3://{self.bucket}/{prefix} cannot be listed", StorageError):
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return sorted(found["Key"] for page in pages for found in page.get("Contents", []))

    def fetch_set(self, what: str, manifest: Manifest, prefix: str, target: Path) -> str:
        """The files of a manifest, then the manifest itself; returns their size for a person."""
        items = [Item(prefix + file.object, inside(target, file.name), file) for file in manifest.files]
        total = sum(file.size for file in manifest.files)
        with bar(self.console, what, total) as advance:
            download(self.s3, self.bucket, items, advance)
        _write(target / "manifest.json", manifest.model_dump_json(indent=2))
        return f"{total / 1e6:.1f} MB"


def _fetch_checkpoints(source: Source, fetched: Fetched, say: Say) -> None:
    """The newest that verifies, and the best."""
    latest = source.read(source.layout.latest, Latest)
    if latest is None or not latest.kept:
        fetched.notes.append("no checkpoint was ever committed")
        return
    for checkpoint in latest.kept:
        if fetched.checkpoints and checkpoint != latest.best:
            continue
        prefix = source.layout.checkpoint(checkpoint)
        folder = inside(fetched.folder / "checkpoints", checkpoint)
        try:
            manifest = source.read(source.layout.checkpoint_manifest(checkpoint), Manifest)
            if manifest is None:
                raise DoesNotVerify(f"checkpoint {checkpoint} has no manifest")
            size = source.fetch_set(f"step {manifest.step}", manifest, prefix, folder)
        except DoesNotVerify as error:
            fetched.notes.append(f"checkpoint {checkpoint} is not whole in S3: {error.what}")
            continue
        role = "best" if fetched.checkpoints else "newest"
        fetched.checkpoints.append(manifest)
        say("fetch", f"{role} checkpoint, step {manifest.step}, in {folder}: {size}, every hash verified")
    if not fetched.checkpoints:
        raise StorageError(
            f"none of the {len(latest.kept)} checkpoints in s3://{source.bucket} verifies",
            why="; ".join(fetched.notes),
            mend="look at the bucket; `signspot destroy --discard` gives them up",
        )


def _fetch_logs(source: Source, fetched: Fetched) -> None:
    """Each stream's chunks as one file, in the order of their offsets."""
    streams: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for key in source.keys(source.layout.logs):
        if part := CHUNK.fullmatch(key.removeprefix(source.layout.logs)):
            streams[f"{part['instance']}/{part['stream']}.log"].append((int(part["offset"]), key))

    def fetch(name: str) -> str:
        written, gap = 0, ""
        with whole(inside(fetched.folder / "logs", name), flush=False) as temporary, temporary.open("wb") as file:
            for offset, key in sorted(streams[name]):
                if offset != written:
                    gap = f"log {name}: what follows byte {written} is not whole in S3"
                written = offset + file.write(source.get(key) or b"")
        return gap

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        fetched.notes += filter(None, pool.map(fetch, streams))
    fetched.streams = len(streams)


def _fetch_events(source: Source, fetched: Fetched) -> None:
    """One line of JSON each, in the order in which they happened."""
    keys = source.keys(source.layout.events)
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        bodies = list(pool.map(source.get, keys))
    try:
        lines = [json.dumps(json.loads(body)) + "\n" for body in bodies if body is not None]
    except ValueError as error:
        raise StorageError(f"an event in s3://{source.bucket} is not JSON", why=str(error)) from error
    if lines:
        _write(fetched.folder / "events.jsonl", "".join(lines))
    fetched.events = len(lines)


def _fetch_report(source: Source, fetched: Fetched, say: Say) -> None:
    page, place = source.get(source.layout.report), fetched.folder / FILE
    if page is not None:
        _write(place, page.decode())
        fetched.report = place
        say("fetch", f"report in {place}")
    elif fetched.status and fetched.status.phase.final:
        fetched.notes.append(f"the box left no report; signspot report {source.layout.run} writes one")


def _write(place: Path, text: str) -> None:
    with whole(place, flush=False) as temporary:
        temporary.write_text(text, encoding="utf-8")
