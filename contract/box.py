"""Where everything lives on the box, and the words of the training contract.

The directories and environment names are SageMaker's training contract, so that one trainer
runs on this box, on SageMaker and on a laptop:
https://docs.aws.amazon.com/sagemaker/latest/dg/docker-container-environmental-variables-user-scripts.html
`root` is `/` on an instance; a rehearsal without namespaces boots below another directory
(`SIGNSPOT_ROOT`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXIT_DONE = 0
EXIT_SAVED = 75
"""SIGTERM means save now and exit with this (EX_TEMPFAIL of sysexits.h): start me again later."""

INTERVAL_FILE = "checkpoint_seconds"
"""In SM_OUTPUT_DIR: a number. A trainer that reads it after each checkpoint can be asked for more frequent ones."""


@dataclass(frozen=True)
class BoxPaths:
    root: Path = Path("/")

    @property
    def home(self) -> Path:
        """The unpacked code bundle: `bootstrap/`, `contract/`, `trainer/`, `config.json`, lock files."""
        return self.root / "opt/signspot"

    @property
    def config(self) -> Path:
        return self.home / "config.json"

    @property
    def venv(self) -> Path:
        return self.home / "venv"

    @property
    def code(self) -> Path:
        """A trainer of the user's own (`run.code`), as it stands on the laptop; absent: signspot's is used."""
        return self.home / "code"

    @property
    def sweep(self) -> Path:
        """What a sweep tries (`run.sweep`); absent: the run is none."""
        return self.home / "sweep.toml"

    @property
    def code_venv(self) -> Path:
        """Its Python, apart from the agent's: whatever it needs, the agent stays as it was tested."""
        return self.home / "code-venv"

    @property
    def state(self) -> Path:
        """What agent and sync remember between two runs on this box."""
        return self.home / "state"

    @property
    def trials(self) -> Path:
        """A folder for each trial that this worker has had."""
        return self.root / "opt/ml/trials"

    @property
    def keypoints(self) -> Path:
        """Of a cluster's extraction: what has been made of the clips so far."""
        return self.root / "opt/ml/keypoints"

    @property
    def sweep_state(self) -> Path:
        """Of a cluster's sweep: what Ray Tune knows of its trials, and the leaderboard."""
        return self.root / "opt/ml/sweep"

    @property
    def usage(self) -> Path:
        """How busy the GPU is, as the agent saw it last."""
        return self.state / "usage.json"

    @property
    def training(self) -> Path:
        """SM_CHANNEL_TRAINING: the dataset."""
        return self.root / "opt/ml/input/data/training"

    @property
    def checkpoints(self) -> Path:
        """SM_CHECKPOINT_DIR: restored before the trainer starts, synced while it runs."""
        return self.root / "opt/ml/checkpoints"

    @property
    def model(self) -> Path:
        """SM_MODEL_DIR: the final artefacts."""
        return self.root / "opt/ml/model"

    @property
    def output(self) -> Path:
        """SM_OUTPUT_DIR: `progress.json`, and `failure` with the reason when the trainer fails."""
        return self.root / "opt/ml/output"

    @property
    def progress(self) -> Path:
        return self.output / "progress.json"

    @property
    def interval(self) -> Path:
        """Seconds between two checkpoints as the agent asks for them while the trainer runs; absent: as started."""
        return self.output / INTERVAL_FILE

    @property
    def failure(self) -> Path:
        return self.output / "failure"

    @property
    def logs(self) -> Path:
        """`boot.log`, `agent.log`, `trainer.log`, `sync.log`."""
        return self.root / "var/log/signspot"

    @property
    def cron(self) -> Path:
        return self.root / "etc/cron.d/signspot"

    @property
    def host_key(self) -> Path:
        """Public half of the key that sshd makes at its first start."""
        return self.root / "etc/ssh/ssh_host_ed25519_key.pub"

    @property
    def instance_id(self) -> Path:
        """Written by cloud-init on every boot."""
        return self.root / "var/lib/cloud/data/instance-id"
