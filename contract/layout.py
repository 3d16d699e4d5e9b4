"""Where everything of one run lives in its bucket. Enters: a run name. Leaves: keys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunLayout:
    """Keys under `runs/<run>/`. Nothing outside this class spells a key by hand."""

    run: str

    @property
    def prefix(self) -> str:
        return f"runs/{self.run}/"

    @property
    def lease(self) -> str:
        return f"{self.prefix}lease.json"

    @property
    def latest(self) -> str:
        return f"{self.prefix}LATEST"

    @property
    def status(self) -> str:
        return f"{self.prefix}status.json"

    @property
    def checkpoints(self) -> str:
        return f"{self.prefix}checkpoints/"

    def checkpoint(self, checkpoint_id: str) -> str:
        """`checkpoint_id` is `<step>-<uuid>`; the files and `manifest.json` stand under it."""
        return f"{self.checkpoints}{checkpoint_id}/"

    def checkpoint_manifest(self, checkpoint_id: str) -> str:
        return f"{self.checkpoint(checkpoint_id)}manifest.json"

    @property
    def events(self) -> str:
        return f"{self.prefix}events/"

    def event(self, time: str, unique: str) -> str:
        return f"{self.events}{time}-{unique}.json"

    @property
    def logs(self) -> str:
        return f"{self.prefix}logs/"

    def log_chunk(self, instance: str, stream: str, offset: int) -> str:
        """One chunk of `stream`, named by the byte offset at which it starts: sorted, they are the log."""
        return f"{self.logs}{instance}/{stream}/{offset:012d}.log"

    def host_key(self, instance: str) -> str:
        """The box's SSH host key, one line as in `ssh_host_ed25519_key.pub`; a client trusts nothing else."""
        return f"{self.prefix}hostkeys/{instance}.pub"

    @property
    def deadline(self) -> str:
        """A `Deadline`, written when a run is extended; absent: the deadline of the deploy holds."""
        return f"{self.prefix}deadline.json"

    @property
    def stop(self) -> str:
        """A `StopRequest`, written by `signspot stop` and taken back by `restart`; absent: nobody ever asked."""
        return f"{self.prefix}stop.json"

    @property
    def head(self) -> str:
        """A `Head`, written by the head of a cluster when Ray is up; absent: there is none yet."""
        return f"{self.prefix}head.json"

    @property
    def trials(self) -> str:
        return f"{self.prefix}trials/"

    def trial(self, trial: str) -> RunLayout:
        """A trial of a sweep is a run below its run: lease, checkpoints, status and model of its own."""
        return RunLayout(f"{self.run}/trials/{trial}")

    @property
    def model(self) -> str:
        return f"{self.prefix}model/"

    @property
    def report(self) -> str:
        """The whole run as one page, written by the box that ends it."""
        return f"{self.prefix}report.html"

    @property
    def model_manifest(self) -> str:
        return f"{self.model}manifest.json"
