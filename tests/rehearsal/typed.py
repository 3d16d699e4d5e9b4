"""Commands as a user types them, against a stage's account; and which of them a test types."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.stage import Stage
from tests.cli import schemas

ROOT = Path(__file__).parents[2]


def signspot(stage: Stage, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As typed in `folder`, which is the home, too; but for packages, which would take seconds to bring again."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    packages = {
        "UV_CACHE_DIR": str(caches / "uv"),
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(caches / "aws/jsii/package-cache"),
    }
    home = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / ".cache"), "PYTHONPATH": str(ROOT)}
    environment = packages | stage.environment | home
    command = [sys.executable, "-m", "cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def answer(stage: Stage, folder: Path, command: str, *words: str, code: int = 0) -> Any:
    """What it prints by `--json`, which its schema allows."""
    done = signspot(stage, folder, command, *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return schemas.check(command, done.stdout)


def commands_in(test: Path) -> set[str]:
    """What the test gives to the two above, or to typer's runner in its own process."""
    found = set()
    for node in ast.walk(ast.parse(test.read_text())):
        match node:
            case ast.Call(func=ast.Name(id="signspot" | "answer"), args=[_, _, ast.Constant(value=command), *_]):
                found.add(command)
            case ast.Call(
                func=ast.Attribute(attr="invoke"), args=[_, ast.List(elts=[ast.Constant(value=command), *_])]
            ):
                found.add(command)
    return found
