"""A box's files, as far as `bootstrap.viewer` needs them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import get_args

from contract.box import BoxPaths
from contract.viewer import Tool

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).parent / "uv"
TOOLS: tuple[Tool, ...] = get_args(Tool)
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
MAKE_VENV = (
    'if [ "$1" = venv ]; then for last; do :; done; '
    f'exec {shlex.quote(str(UV))} venv -q --python {shlex.quote(sys.executable)} "$last"; fi'
)
STAND_IN = """
import http.server, json, os, sys
given = " ".join(sys.argv[1:]).replace("=", " ").split()
words = {one[2:]: other for one, other in zip(given, given[1:]) if one.startswith("--")}
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([words, dict(os.environ), sys.path]).encode())
    def log_message(self, *_): pass
where = words.get("host", words.get("ip", "0.0.0.0"))
http.server.ThreadingHTTPServer((where, int(words["port"])), Page).serve_forever()
"""
"""Listens where it is told, else everywhere, as Jupyter would not but others do."""


def make_box(root: Path) -> BoxPaths:
    """A box's files, in which `uv` makes real environments and installs a stand-in for the real packages."""
    paths, home = BoxPaths(root), root / "home/ubuntu"
    for folder in (paths.venv / "bin", paths.venv / SITE, paths.home / "requirements", home):
        folder.mkdir(parents=True)
    for name, file in (("tensorboard", "main.py"), ("jupyterlab", "__main__.py")):
        package = root / "stand-in" / name
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / file).write_text(STAND_IN)
    for tool in TOOLS:
        (paths.home / f"requirements/{tool}.txt").touch()
    q = shlex.quote
    script(
        paths.venv / "bin/uv",
        f'echo "$@" >> {q(str(root / "uv.log"))}',
        f"[ ! -e {q(str(root / 'no-index'))} ] || {{ echo no such index >&2; exit 2; }}",
        MAKE_VENV,
        f'exec cp -r {q(str(root))}/stand-in/* "$(dirname "$5")"/../lib/python*/site-packages',
    )
    script(
        paths.venv / "bin/python",
        f"export SIGNSPOT_ROOT={q(str(root))} HOME={q(str(home))} PYTHONPATH={q(str(ROOT))}",
        f'exec {q(sys.executable)} "$@"',
    )
    return paths


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
