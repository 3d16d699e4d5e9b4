"""The pinned, hashed packages of the trainer. Enters: the settings. Leaves: an environment that has them.

    python -m bootstrap.packages

install.sh starts this beside the agent, whose own import takes a second: only the standard library is used here. The
agent asks for the same packages (install.py); uv lets it wait until this has ended, and what went wrong goes wrong
there once more and is told there. Bytecode follows while the trainer starts and uses one core: it finds most of it.
"""

from __future__ import annotations

import compileall
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from contract.box import BoxPaths

GPU = Path("/dev/nvidia0")
COMPILED = ("tensorflow/python", "tensorflow/_api", "keras/src")
"""Whose modules are imported nearly all, and are most of what is: making their bytecode is most of a first import. uv
makes none, and for all packages that would take longer than is won."""
INSTALL_SECONDS = 900
"""What one try may take; CUDA's packages are about 3 GB. An index that sends nothing must not keep the box alive."""


def locks(job: str, *, own: bool, boxes: int) -> list[str]:
    """The lock files: the trainer's, with CUDA only where there is a GPU; for several boxes Ray's as well.

    A trainer of the user's own (`own`) brings its packages itself.
    """
    if job == "extract":
        names = ["extraction"]
    elif own:
        names = []
    else:
        names = ["box-gpu" if GPU.exists() else "box"]
    return [f"requirements/{name}.txt" for name in [*names, *(["ray"] if boxes > 1 else [])]]


def install(paths: BoxPaths, lock: str) -> list[str]:
    """uv's arguments, beside the agent."""
    python = str(paths.venv / "bin/python")
    return ["pip", "install", "-q", "--python", python, "--require-hashes", "-r", str(paths.home / lock)]


def run_uv(paths: BoxPaths, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Raises:
    subprocess.SubprocessError: it failed, or took more than `INSTALL_SECONDS`.
    """
    subprocess.run(
        [str(paths.venv / "bin/uv"), *arguments],
        cwd=folder,
        env={**environment, "UV_LOCK_TIMEOUT": str(INSTALL_SECONDS)},
        capture_output=True,
        text=True,
        check=True,
        timeout=INSTALL_SECONDS,
    )


def main() -> None:
    paths = BoxPaths(Path(os.environ.get("SIGNSPOT_ROOT") or "/"))
    config = json.loads(paths.config.read_bytes())
    run, machine = config["run"], config["machine"]
    for lock in locks(run["job"], own=bool(run["code"]), boxes=machine["boxes"]):
        run_uv(paths, install(paths, lock), paths.home, os.environ)
    os.nice(19)
    for name in COMPILED:
        for package in paths.venv.glob(f"lib/python3*/site-packages/{name}"):
            compileall.compile_dir(package, quiet=2)


if __name__ == "__main__":
    main()
