"""Asks the boxes of runs to save before they end. Enters: names of runs. Leaves: what of each is safe in S3.

The request is an object, `stop.json`, which a box reads every five seconds: it saves, verifies, says so in
`status.json` and leaves its group. Nothing here stands in the way of the brake: what goes wrong is an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from pydantic import BaseModel

from cli.fetch import Say, stack_outputs
from cli.live import Client, living
from cli.refusal import refused
from cli.status import read_status
from cli.stop import AT_ONCE, Patience
from contract.errors import CloudError, SignspotError, StorageError
from contract.layout import RunLayout
from contract.status import Phase, Status, StopRequest

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

SAVE_SECONDS = 150.0
"""A box hears of it within 5 s and gives its trainer limits.grace_seconds (110 at most); the rest is for the upload."""
LEAVE_SECONDS = 20.0
"""Once it has saved: for its last words, until it has left by itself."""
POLL_SECONDS = 2.0
TOLD_EVERY_SECONDS = 10.0


class Safe(BaseModel):
    """What of a run is in S3 before its instance ends."""

    run: str
    saved: bool
    """Whether that is all that was trained."""
    step: int | None
    """Of the newest verified checkpoint; None: there is none, or nobody knows."""
    message: str


def put_request(s3: S3Client, bucket: str, run: str, request: StopRequest) -> None:
    """Raises StorageError: S3 refuses, or does not answer."""
    key = RunLayout(run).stop
    with refused(f"s3://{bucket}/{key} cannot be written", StorageError):
        s3.put_object(Bucket=bucket, Key=key, Body=request.model_dump_json().encode(), ContentType="application/json")


def judge(status: Status, alive: Collection[str] | None) -> Safe | None:
    """What is safe; None while a box may still save more. `alive`: what runs of the run; None: AWS does not say.

    That a box is over is not enough: a trainer that was killed was further than the newest verified checkpoint.
    Of a box that ended while it trained nobody knows what it did after its last word.
    """
    run, phase = status.run, status.phase
    step, made = status.checkpoint_step or None, status.progress.step
    if phase is Phase.DONE:
        return Safe(run=run, saved=True, step=step, message=f"the run is {phase}")
    if phase is Phase.PENDING:
        return Safe(run=run, saved=True, step=None, message="no box has trained yet: there is nothing to save")
    said = (phase.final or phase is Phase.INTERRUPTED) and not status.trouble
    if not said and (alive is None or status.instance in alive):
        return None
    behind = made > status.checkpoint_step
    saved = not behind and not status.trouble and not status.cut_off and phase not in (Phase.TRAINING, Phase.FAILED)
    newest = f"the newest verified checkpoint is of step {step}" if step else "there is no checkpoint"
    if phase.final:
        message = f"the run is {phase}: {newest}"
    elif not said:
        message = f"no box trains any more: {newest}"
    elif not saved:
        message = f"not everything was saved: {newest}"
    else:
        message = f"saved at step {step}, verified in S3" if step else "nothing was trained yet"
    if behind:
        lost = f"; the last that was heard of was step {made}"
    else:
        lost = "; the trainer did not save itself when it was asked to" if status.cut_off else ""
    return Safe(run=run, saved=saved, step=step, message=message + lost)


def save_first(
    client: Client, runs: Iterable[str], say: Say, patience: Patience, limit_seconds: float = SAVE_SECONDS
) -> dict[str, Safe]:
    """Ask all of them, wait for all of them together; what each has in S3 then.

    `client` should be one that gives up soon, such as `cli.live.brisk`.
    """
    client = cache(client)
    for service in ("cloudformation", "s3", "ec2"):  # made here: boto3 makes no two at the same time
        client(service)
    patience = replace(patience, poll_seconds=POLL_SECONDS, limit_seconds=limit_seconds)
    asked = [_Asked(client, run, say, patience) for run in runs]
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="save")
    try:
        list(pool.map(_Asked.ask, asked))
        patience.wait(lambda: all(list(pool.map(_Asked.look, asked))))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: the brake does not wait for an answer of S3
    return {one.run: one.outcome(limit_seconds) for one in asked}


class _Asked:
    """One run, asked and looked after."""

    def __init__(self, client: Client, run: str, say: Say, patience: Patience) -> None:
        self.run = run
        self._client = client
        self._say = say
        self._clock = patience.clock
        self._began = self._told = patience.clock()
        self._bucket = ""
        self._status: Status | None = None
        self._safe: Safe | None = None
        self._safe_at = 0.0

    def ask(self) -> None:
        try:
            self._bucket = stack_outputs(self._client("cloudformation"), self.run)["Bucket"]
            request = StopRequest(asked_at=datetime.now(UTC))
            put_request(self._client("s3"), self._bucket, self.run, request)
        except SignspotError as error:
            why = error.why or "no reason given"
            message = f"the box could not be asked to save: {error.what}: {why}"
            self._decide(Safe(run=self.run, saved=False, step=None, message=message))
        else:
            self._say("save", f"run {self.run}: its box is asked to save")

    def look(self) -> bool:
        """Whether nothing is to be waited for any more."""
        alive = self._alive()
        if self._safe is None:
            try:
                self._status = read_status(self._client("s3"), self._bucket, self.run)
            except StorageError as error:
                self._tell(f"waiting; {error.what}: {error.why}")
                return False  # what this laptop cannot read the box may have heard
            if found := judge(self._status, alive):
                self._decide(found)
            else:
                self._tell(self._waiting(self._status))
        return self._safe is not None and self._has_left(alive)

    def outcome(self, limit_seconds: float) -> Safe:
        if self._safe is None:
            step = self._status.checkpoint_step if self._status else 0
            known = f"the newest verified checkpoint is of step {step}" if step else "no checkpoint is known of"
            message = f"its box has not saved within {limit_seconds:.0f} s: {known}"
            self._decide(Safe(run=self.run, saved=False, step=step or None, message=message))
        assert self._safe is not None
        return self._safe

    def _decide(self, safe: Safe) -> None:
        self._safe, self._safe_at = safe, self._clock()
        self._say("save", f"run {self.run}: {safe.message}")

    def _has_left(self, alive: Collection[str] | None) -> bool:
        gone = not (self._safe and self._safe.saved and self._status and alive and self._status.instance in alive)
        return gone or self._clock() - self._safe_at >= LEAVE_SECONDS

    def _alive(self) -> set[str] | None:
        try:
            with refused("AWS does not say what lives"):
                found = living(self._client("ec2"), self.run)
        except CloudError:
            return None
        return {one.id for one in found if one.state in ("pending", "running")}

    def _waiting(self, status: Status) -> str:
        where = f"at step {status.progress.step}, the newest verified checkpoint is of step {status.checkpoint_step}"
        return f"waiting for {status.instance} to save: {where}"

    def _tell(self, what: str) -> None:
        now = self._clock()
        if now - self._told >= TOLD_EVERY_SECONDS:
            self._told = now
            self._say("save", f"run {self.run}: {what}, {now - self._began:.0f} s so far")
