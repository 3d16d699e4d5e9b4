"""What agent and sync share on the box: the surroundings they run in and what they remember.

Enters: the environment that user data exported. Leaves: a `Box` (paths, config, bucket, instance) and a
`State` kept in one file, changed only under a lock, because cron's sync and the agent run side by side.
"""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import boto3
from botocore.config import Config as BotoConfig

from bootstrap.snapshot import Fingerprint
from bootstrap.store import RunStore
from contract.box import BoxPaths
from contract.config import Config
from contract.errors import ConfigError, StorageError
from contract.status import Lease, Phase, Record

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
    attempts: int = 1
    fruitless_attempts: int = 0
    instance_type: str = ""
    zone: str = ""
    restored_step: int = 0
    synced: Fingerprint = ()
    """The checkpoint directory as it was when it was last committed."""
    checkpoint: str = ""
    checkpoint_step: int = 0
    checkpoint_time: datetime | None = None
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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Box:
        """Raises ConfigError when user data did not export what is needed."""
        paths = BoxPaths(Path(environment.get("SIGNSPOT_ROOT") or "/"))
        try:
            bucket, instance = environment["BUCKET"], environment["INSTANCE_ID"]
            run, data = environment["RUN"], environment["DATA"]
        except KeyError as missing:
            raise ConfigError(f"the variable {missing} is not set", mend="start this from user data") from None
        s3 = boto3.client("s3", config=BotoConfig(retries={"mode": "standard", "total_max_attempts": 6}))
        return cls(
            paths=paths,
            config=Config.model_validate_json(paths.config.read_text()),
            bucket=bucket,
            data=data,
            topic=environment.get("TOPIC", ""),
            instance=instance,
            store=RunStore(s3, bucket, run),
            environment=environment,
        )

    @property
    def _state_file(self) -> Path:
        return self.paths.state / "state.json"

    def load(self) -> State:
        """Raises StorageError before the agent has taken the lease: there is nothing to sync for yet."""
        try:
            return State.model_validate_json(self._state_file.read_text())
        except FileNotFoundError:
            raise StorageError("this box has not taken the run over yet", mend="wait for the agent") from None

    def save(self, state: State) -> State:
        self.paths.state.mkdir(parents=True, exist_ok=True)
        temporary = self._state_file.with_name(".state.json")
        temporary.write_text(state.model_dump_json())
        temporary.replace(self._state_file)
        return state

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One at a time, whether agent or cron; released by the kernel when its holder dies."""
        self.paths.state.mkdir(parents=True, exist_ok=True)
        with (self.paths.state / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def enter(self, phase: Phase, reason: str = "") -> None:
        with self.lock():
            self.save(self.load().model_copy(update={"phase": phase, "reason": reason}))

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
            "exec venv/bin/python -m bootstrap.sync\n"
        )
        script.chmod(0o755)
        self.paths.cron.parent.mkdir(parents=True, exist_ok=True)
        log = self.paths.logs / "sync.log"
        line = f"* * * * * root {shlex.quote(str(script))} >> {shlex.quote(str(log))} 2>&1\n"
        temporary = self.paths.cron.with_name(".signspot")  # cron ignores names with a dot
        temporary.write_text(line)
        temporary.chmod(0o644)
        temporary.replace(self.paths.cron)
