"""`signspot rehearse` as a user starts it, and what it leaves behind when it is stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rehearsal.inside import MARKER
from tests.cli import schemas


def start(*arguments: str, folder: Path, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "rehearse", "--to", str(folder / "results"), *arguments],
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return "".join(lines)
    raise AssertionError(f"{word!r} never came:\n{''.join(lines)}")


def of_rehearsal(folder: Path) -> list[psutil.Process]:
    """Every process that belongs to a rehearsal below `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARKER, "") + " ".join(process.cmdline())
            if str(folder) in mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_run_survives_a_kill_without_notice_as_plain_processes(tmp_path: Path) -> None:
    words = ("--kill", "--sandbox", "processes", "-c", "epochs=12", "-c", "units=32", "--json")
    process = start(*words, folder=tmp_path, stderr=subprocess.PIPE)
    told, output = process.communicate(timeout=500)
    assert process.returncode == 0, output
    report = schemas.check("rehearse", told)
    assert report["good"] and not any(report["left"].values())
    assert [part["cause"] for part in report["stretches"]] == ["killed", "terminated"]
    assert "1 of 1 (without notice), all survived" in output
    assert "left in the account: 0" in output
    assert "every hash verified" in output
    assert re.search(r"signer\d+-\d+\.npy \(labelled '\w+'\): \w+ \(\d+\.\d%\)", output)
    assert not of_rehearsal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    home = tmp_path / "results/rehearsal"
    assert Path(answer("export", home / "model")["file"]).parent == home / "model"
    page = (home / "report.html").read_text(encoding="utf-8")  # as the box that ended the run wrote it
    assert all(part["instance"] in page for part in report["stretches"])
    assert "2 instances; 1 ended before the run was done" in page and "the highest accepted" in page


def answer(command: str, of: Path) -> Any:
    """What a command of the laptop alone makes of what the rehearsal fetched."""
    words = [sys.executable, "-m", "cli", command, str(of), "--json"]
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return schemas.check(command, done.stdout)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_rehearsal_leaves_no_process_port_or_folder(tmp_path: Path, how: signal.Signals) -> None:
    process = start(folder=tmp_path)
    output = read_until(process, "booted")
    port = int(re.findall(r"http://localhost:(\d+)", output)[0])
    time.sleep(1)
    assert of_rehearsal(tmp_path)
    process.send_signal(how)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "everything that was started is gone" in rest
    deadline = time.monotonic() + 60
    while (of_rehearsal(tmp_path) or list(tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not of_rehearsal(tmp_path)
    assert not list(tmp_path.iterdir())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "nowhere"), "nowhere/dataset.csv cannot be read"),
        (("-c", "epoch=3"), "did you mean 'epochs'"),
        (("-c", "epochs"), "given as NAME=VALUE"),
        (("-c", "max_usd=0.01"), "fewer than 10"),
    ],
)
def test_bad_input_is_one_message_before_anything_is_started(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    process = start(*arguments, folder=tmp_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode in (2, 3)
    assert words in output
    assert "Traceback" not in output
    assert "cdk" not in output
