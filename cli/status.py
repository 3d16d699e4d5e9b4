"""`signspot status`: how a run is doing. Enters: its name. Leaves: a few lines, or JSON, and an exit code.

What the box said is read from the run's bucket, so it answers from any laptop and after the box is gone; what lives is
asked of AWS, so that a box that ended without a word is told as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ValidationError

from cli.live import Client, Live, groups_of, look
from cli.logs import Logs, as_lines, last_lines
from contract.errors import CloudError, StorageError, TrainerError
from contract.layout import RunLayout
from contract.status import Deadline, Phase, Record, Status, StopRequest, is_stale

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

AnyRecord = TypeVar("AnyRecord", bound=Record)
BOOT_LINES = 15
"""Of the last box's boot log, where that is all it left."""


class Ending(BaseModel):
    """A run whose last status is not final although nothing lives and nothing will be started."""

    message: str
    stopped: bool
    """On purpose, by `signspot stop` or a `destroy` that was not finished."""
    stop_at: datetime | None
    """The deadline, where it is known."""
    deadline_passed: bool
    boot_log_of: str
    """The last instance that left a boot log."""
    boot_log: tuple[str, ...]
    """Its end."""


class Report(BaseModel):
    """All there is to say of a run."""

    status: Status
    live: Live | None
    """What AWS says; None when it does not, and `warnings` says why."""
    ending: Ending | None = None
    warnings: tuple[str, ...] = ()


def report_on(client: Client, outputs: Mapping[str, str], run: str, now: datetime) -> Report:
    """`outputs` are those of the run's stack.

    Raises:
        StorageError: S3 refuses, or what it holds is no status.
    """
    live, warnings = None, []
    try:
        live = look(client, run, groups_of(outputs))  # before the status: who ends a run has written that before
    except CloudError as error:
        warnings.append(f"{error.what}: {error.why}")
    if live and live.open_to_many:
        warnings.append(
            f"PORT 22 IS OPEN TO MANY ADDRESSES: {', '.join(live.open_to_many)}. "
            "Close it: cdk deploy -c ssh_from=$(signspot address), or -c ssh_from=none"
        )
    s3, bucket = client("s3"), outputs["Bucket"]
    status = read_status(s3, bucket, run)
    report = Report(status=status, live=live, warnings=tuple(warnings))
    if not (live and live.empty) or status.phase.final:
        return report
    return report.model_copy(update={"ending": _ending(s3, bucket, outputs, status, now)})


def _ending(s3: S3Client, bucket: str, outputs: Mapping[str, str], status: Status, now: datetime) -> Ending:
    stop_at = read_deadline(s3, bucket, outputs, status.run)
    passed = stop_at is not None and now >= stop_at
    request = _read(s3, bucket, RunLayout(status.run).stop, StopRequest)
    stopped = request is not None and request.stands
    if status.phase is Phase.INTERRUPTED:
        what = "was stopped on purpose" if stopped else "ended before it was done"
        step, made = status.checkpoint_step, status.progress.step
        whole = made <= step and not status.cut_off
        what += f": it was saved at step {step}" if whole else f" at step {made}: {_saved(status)}"
    elif stopped:
        what = f"was stopped on purpose: its last word was {status.phase!s}: {_saved(status)}"
    elif status.phase is Phase.PENDING:
        what = "ended without a word: no instance ever wrote a status"
    else:
        seconds = (now - status.heartbeat).total_seconds()
        what = f"ended without a word: its last one was {status.phase!s}, {seconds:.0f} s ago"
    when = f"; the deadline, {stop_at:%Y-%m-%dT%H:%M:%SZ}, has {'' if passed else 'not '}passed" if stop_at else ""
    mend = f"signspot extend {status.run} --hours 2, then " if passed else ""
    boot = list(as_lines(last_lines(Logs(s3, bucket, status.run, "boot"), BOOT_LINES)))
    instance = boot[-1].instance if boot else ""
    return Ending(
        message=f"{what}; {'every' if 'Workers' in outputs else 'the'} group is at 0 and no instance lives{when}. "
        f"It goes on with: {mend}signspot restart {status.run}",
        stopped=stopped,
        stop_at=stop_at,
        deadline_passed=passed,
        boot_log_of=instance,
        boot_log=tuple(line.data.decode("utf-8", "replace") for line in boot if line.instance == instance),
    )


def _saved(status: Status) -> str:
    step = status.checkpoint_step
    return f"its newest verified checkpoint is of step {step}" if step else "there is no checkpoint yet"


def read_deadline(s3: S3Client, bucket: str, outputs: Mapping[str, str], run: str) -> datetime | None:
    """That of an extension, else that of the deploy."""
    deadline = _read(s3, bucket, RunLayout(run).deadline, Deadline)
    if deadline is not None:
        return deadline.stop_at
    return datetime.fromisoformat(outputs["StopAt"]) if "StopAt" in outputs else None


def read_status(s3: S3Client, bucket: str, run: str) -> Status:
    """The run's status; one that no box has written yet is `pending`.

    Raises:
        StorageError: S3 refuses, or what it holds is no status.
    """
    status = _read(s3, bucket, RunLayout(run).status, Status)
    return status or Status(
        run=run, phase=Phase.PENDING, heartbeat=datetime.now(UTC), reason="no instance has booted yet"
    )


def _read(s3: S3Client, bucket: str, key: str, kind: type[AnyRecord]) -> AnyRecord | None:
    try:
        return kind.model_validate_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None
    except (ClientError, BotoCoreError, ValidationError) as error:
        raise StorageError(f"s3://{bucket}/{key} cannot be read", why=str(error)) from error


def exit_code(report: Report, now: datetime) -> int:
    """0 when all is well; StorageError's while checkpoints do not reach S3; TrainerError's when it ended undone."""
    if report.ending or report.status.phase in (Phase.FAILED, Phase.EXPIRED):
        return TrainerError.exit_code
    return StorageError.exit_code if is_stale(report.status, now) else 0
