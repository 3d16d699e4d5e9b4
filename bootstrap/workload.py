"""The trainer as a process. Enters: a command and directories. Leaves: its exit code and its log.

It is spoken to only through SageMaker's training contract: environment, directories, SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from bootstrap.pace import Pace
from contract.box import BoxPaths
from contract.config import Config

KILL_SECONDS = 10


def contract_environment(paths: BoxPaths, config: Config) -> dict[str, str]:
    """The variables of the training contract."""
    hyperparameters = config.trainer.model_dump(mode="json", exclude={"command"})
    hyperparameters |= {
        "table": config.data.table,
        "checkpoint_seconds": Pace.of(config, 0, 0).interval_seconds,
        "checkpoint_steps": config.sync.checkpoint_steps,
    }
    return {
        "SM_CHANNEL_TRAINING": str(paths.training),
        "SM_MODEL_DIR": str(paths.model),
        "SM_OUTPUT_DIR": str(paths.output),
        "SM_CHECKPOINT_DIR": str(paths.checkpoints),
        "SM_HPS": json.dumps(hyperparameters),
        "PYTHONUNBUFFERED": "1",
    }


class Workload:
    """One start of the training command, in a process group of its own."""

    def __init__(self, paths: BoxPaths, config: Config, environment: Mapping[str, str]) -> None:
        for directory in (paths.checkpoints, paths.model, paths.output):
            directory.mkdir(parents=True, exist_ok=True)
        paths.failure.unlink(missing_ok=True)
        own = bool(config.run.code)
        venv = (paths.code_venv if own else paths.venv) / "bin"
        command = [str(venv / "python") if word == "python" else word for word in config.trainer.command]
        self._log = paths.logs / "trainer.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=paths.code if own else paths.home,
                env={
                    **environment,
                    **contract_environment(paths, config),
                    "PATH": f"{venv}:{environment.get('PATH', os.defpath)}",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log_bytes(self) -> int:
        """How much the trainer has said, since the first start on this box."""
        return self._log.stat().st_size if self._log.exists() else 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def stop(self, grace_seconds: float) -> int:
        """SIGTERM (save now), wait, SIGKILL for whatever is left of the group; returns the exit code."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        return self.clear()

    def clear(self) -> int:
        """SIGKILL whatever is left of the group, children of an ended trainer too; returns the exit code.

        A process that not even SIGKILL ends (it hangs in a driver) is not waited for: the box must end.
        """
        self._signal(signal.SIGKILL)
        try:
            return self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
