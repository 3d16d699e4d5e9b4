"""The trainer's own commands, on this laptop: the only place where the CLI calls the trainer, as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

STANDARD_ERROR = 2
"""Its file descriptor."""


def run_trainer(module: str, *arguments: str, variables: Mapping[str, str] | None = None, aside: bool = False) -> int:
    """Run `python -m <module>` in this Python and this terminal; returns its exit code.

    `variables` are added to its environment; `aside`: what it prints goes to standard error. Ctrl-C in a
    terminal reaches both; what it means is the module's to say, so its end is waited for.
    """
    command = [sys.executable, "-m", module, *arguments]
    stdout = STANDARD_ERROR if aside else None
    with subprocess.Popen(command, env={**os.environ, **(variables or {})}, stdout=stdout) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def as_arguments(**options: str | float | bool | None) -> list[str]:
    """Options as `--name=value`; True as `--name` alone; None and False are left out."""
    arguments = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(flag)
        elif value is not None and value is not False:
            arguments.append(f"{flag}={value}")
    return arguments
