from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import s3_server

NODE = f"""#!{sys.executable}
import http.server, sys
port = int(sys.argv[sys.argv.index("-p") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_the_server_ends_with_the_group_of_a_benchmark_that_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node").write_text(NODE)
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(s3_server, "_install", lambda: None)
    with s3_server.s3_server():
        (server,) = [one for one in psutil.Process().children() if str(tmp_path / "node") in one.cmdline()]
        assert os.getpgid(server.pid) == os.getpgrp()
    assert not server.is_running()
