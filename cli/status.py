"""`signspot status`: how a run is doing. Enters: its name. Leaves: a few lines, or JSON, and an exit code.

Everything is read from the run's bucket, so it answers from any laptop and after the box is gone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from contract.errors import StorageError, TrainerError
from contract.layout import RunLayout
from contract.status import Phase, Status, is_stale

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


def read_status(s3: S3Client, bucket: str, run: str) -> Status:
    """The run's status; one that no box has written yet is `pending`.

    Raises:
        StorageError: S3 refuses, or what it holds is no status.
    """
    key = RunLayout(run).status
    try:
        return Status.model_validate_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return Status(run=run, phase=Phase.PENDING, heartbeat=datetime.now(UTC), reason="no instance has booted yet")
    except (ClientError, BotoCoreError, ValidationError) as error:
        raise StorageError(f"s3://{bucket}/{key} cannot be read", why=str(error)) from error


def exit_code(status: Status, now: datetime) -> int:
    """0 when all is well; StorageError's while checkpoints do not reach S3; TrainerError's when the run failed."""
    if status.phase in (Phase.FAILED, Phase.EXPIRED):
        return TrainerError.exit_code
    return StorageError.exit_code if is_stale(status, now) else 0


def show(status: Status, now: datetime, console: Console) -> None:
    def ago(time: datetime | None) -> str:
        return "never" if time is None else f"{(now - time).total_seconds():.0f} s ago"

    progress = status.progress
    table = Table.grid(padding=(0, 2))
    table.add_row("run", status.run)
    table.add_row("phase", f"{status.phase}{f': {status.reason}' if status.reason else ''}")
    table.add_row("instance", f"{status.instance} {status.instance_type} {status.zone}, attempt {status.attempts}")
    table.add_row(
        "step", f"{progress.step} of {progress.steps}, epoch {progress.train_epoch} of {progress.train_epochs}"
    )
    table.add_row("metrics", ", ".join(f"{name} {value:.4f}" for name, value in sorted(progress.metrics.items())))
    table.add_row("checkpoint", f"step {status.checkpoint_step}, verified in S3 {ago(status.checkpoint_time)}")
    table.add_row("heartbeat", ago(status.heartbeat))
    console.print(table)
    for warning in status.warnings:
        console.print(f"warning: {warning}", style="yellow")
    if is_stale(status, now):
        console.print(
            f"stale: no new checkpoint has been verified in S3 for more than {status.stale_after:.0f} s. "
            f"{status.health_reason or 'The instance says nothing of it: it may not reach S3, or be gone.'}",
            style="bold red",
        )
