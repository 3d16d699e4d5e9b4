"""What agent and sync share on the box: the surroundings they run in and what they remember.

Enters: the environment that user data exported. Leaves: a `Box` (paths, config, bucket, instance) and a
`State` kept in one file, changed only under a lock, because cron's sync and the agent run side by side.
"""

from __future__ import annotations

import fcntl
import logging
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import boto3
from botocore.config import Config as BotoConfig

from bootstrap.objects import DISK, disk_errors
from bootstrap.snapshot import Fingerprint
from bootstrap.store import RunStore
from contract.box import BoxPaths
from contract.config import Config
from contract.errors import ConfigError, StorageError
from contract.failpoints import reach
from contract.status import Lease, Phase, Record

log = logging.getLogger(__name__)

S3_MANNERS = BotoConfig(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
"""A request that hangs is given up within the two minutes of a notice; whoever sent it tries again."""

PASSED_TO_CRON = (
    *("RUN", "BUCKET", "DATA", "TOPIC", "INSTANCE_ID", "SIGNSPOT_ROOT", "PATH", "SSL_CERT_FILE"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CA_BUNDLE"),
)
"""Cron starts with an empty environment; these are written to a file for it. No credentials: those come from
the metadata service."""


class State(Record):
    """Survives the agent: the sync that cron runs goes on with it."""

    lease: Lease
    phase: Phase = Phase.BOOTING
    reason: str = ""
    since: datetime | None = None
    attempts: int = 1
    fruitless_attempts: int = 0
    instance_type: str = ""
    zone: str = ""
    restored_step: int = 0
    synced: Fingerprint | None = None
    """The checkpoint directory as it was when it was last committed; None: not restored yet, nothing is new."""
    checkpoint: str = ""
    checkpoint_step: int = 0
    checkpoint_time: datetime | None = None
    fresh_at: float = 0.0
    """`time.monotonic()` (one clock for every process of the box) of the newest commit, or of the phase's begin."""
    save_seconds: float = 0.0
    """What the newest checkpoint took to be flushed and read; an estimate, see docs/decisions/0004."""
    upload_seconds: float = 0.0
    """What its commit took."""
    trouble: str = ""
    """What the last sync said when it failed."""
    cut_off: bool = False
    """The trainer was to save itself and did not."""
    status_etag: str = ""
    """Of the version of `status.json` that a sync of this box wrote last."""
    boot_log_bytes: int = 0
    trainer_log_bytes: int = 0
    """How much of boot.log and trainer.log is in S3."""


@dataclass(frozen=True)
class Box:
    paths: BoxPaths
    config: Config
    bucket: str
    data: str
    topic: str
    instance: str
    store: RunStore
    environment: Mapping[str, str]
    stop_at: datetime | None = None
    """When the group goes to 0 whatever happens; None: nobody said."""
    _unsaved: list[State] = field(default_factory=list, repr=False, compare=False)
    """The state while the disk refuses it: this process goes on with it, cron's sync with an older one."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Box:
        """Raises ConfigError when user data did not export what is needed."""
        paths = BoxPaths(Path(environment.get("SIGNSPOT_ROOT") or "/"))
        try:
            bucket, instance = environment["BUCKET"], environment["INSTANCE_ID"]
            run, data = environment["RUN"], environment["DATA"]
        except KeyError as missing:
            raise ConfigError(f"the variable {missing} is not set", mend="start this from user data") from None
        s3 = boto3.client("s3", config=S3_MANNERS)
        return cls(
            paths=paths,
            config=Config.model_validate_json(paths.config.read_text()),
            bucket=bucket,
            data=data,
            topic=environment.get("TOPIC", ""),
            stop_at=_time(environment.get("STOP_AT", "")),
            instance=instance,
            store=RunStore(s3, bucket, run),
            environment=environment,
        )

    @property
    def highest_price(self) -> float:
        """Dollars an hour that the group pays for a box: the stack keeps it, whatever a later deploy is set to."""
        return float(self.environment.get("MAX_PRICE") or self.config.limits.max_price_per_hour)

    @property
    def _state_file(self) -> Path:
        return self.paths.state / "state.json"

    def load(self) -> State:
        """Raises StorageError before the agent has taken the lease: there is nothing to sync for yet."""
        if self._unsaved:
            return self._unsaved[0]
        try:
            return State.model_validate_json(self._state_file.read_text())
        except FileNotFoundError:
            raise StorageError("this box has not taken the run over yet", mend="wait for the agent") from None

    def save(self, state: State) -> State:
        """Whole or not at all; a full disk is no reason to stop, so the state is then kept in memory."""
        temporary = self._state_file.with_name(".state.json")
        try:
            reach("state.write.before")
            self.paths.state.mkdir(parents=True, exist_ok=True)
            temporary.write_text(state.model_dump_json())
            reach("state.write.after")
            reach("state.replace.before")
            temporary.replace(self._state_file)
            reach("state.replace.after")
        except OSError as error:
            log.warning("the state cannot be kept on disk (%s): %s", error, DISK)
            self._unsaved[:] = [state]
        else:
            self._unsaved.clear()
        return state

    def update(self, **values: object) -> State:
        """Change some fields under the lock."""
        with self.lock():
            return self.save(self.load().model_copy(update=values))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One at a time, whether agent or cron; released by the kernel when its holder dies."""
        with disk_errors("lock the state"):
            self.paths.state.mkdir(parents=True, exist_ok=True)
            file = (self.paths.state / "lock").open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def enter(self, phase: Phase, reason: str = "", *, cut_off: bool = False) -> None:
        values = {"reason": reason, "cut_off": cut_off}
        if self.load().phase is phase:
            self.update(**values)
        else:
            self.update(phase=phase, since=datetime.now(UTC), fresh_at=time.monotonic(), **values)

    def write_cron(self) -> None:
        """`/etc/cron.d/signspot`: the sync of last resort, which goes on when the agent does not."""
        exports = "".join(
            f"export {name}={shlex.quote(self.environment[name])}\n"
            for name in PASSED_TO_CRON
            if self.environment.get(name)
        )
        script = self.paths.home / "sync.sh"
        script.write_text(
            f"#!/bin/sh\n{exports}cd {shlex.quote(str(self.paths.home))} || exit\n"
            'exec flock -nF "$0" venv/bin/python -m bootstrap.sync\n'  # or S3 out of reach piles them up, one a minute
        )
        script.chmod(0o755)
        self.paths.cron.parent.mkdir(parents=True, exist_ok=True)
        log = self.paths.logs / "sync.log"
        line = f"* * * * * root {shlex.quote(str(script))} >> {shlex.quote(str(log))} 2>&1\n"
        temporary = self.paths.cron.with_name(".signspot")  # cron ignores names with a dot
        temporary.write_text(line)
        temporary.chmod(0o644)
        temporary.replace(self.paths.cron)


def _time(text: str) -> datetime | None:
    """Raises ConfigError for what is no time with a zone."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"STOP_AT={text} is no time", why=str(error), mend="for instance 2026-01-01T12:00:00Z"
        ) from None
    if time.tzinfo is None:
        raise ConfigError(f"STOP_AT={text} has no time zone", mend="for instance 2026-01-01T12:00:00Z")
    return time
