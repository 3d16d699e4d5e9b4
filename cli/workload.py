"""The trainer's own commands, on this laptop: the only place where the CLI calls the trainer, as a process."""

from __future__ import annotations

import subprocess
import sys


def run_trainer(module: str, *arguments: str) -> int:
    """Run `python -m <module>` in this Python and this terminal; returns its exit code."""
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
