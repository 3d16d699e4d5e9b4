from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.workload import as_arguments, run_trainer


def test_options_become_arguments() -> None:
    options = as_arguments(signer_pattern="-(?P<signer>x)", level=2, seed=0, random=True, resplit=False, table=None)
    assert options == ["--signer-pattern=-(?P<signer>x)", "--level=2", "--seed=0", "--random"]


def test_exit_code_is_the_modules() -> None:
    assert run_trainer("trainer.prepare", "--no-such-option") == 2


def test_what_it_prints_can_go_aside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.py").write_text("print('talk')")
    variables = {"PYTHONPATH": str(tmp_path)}
    assert run_trainer("talk", variables=variables) == 0
    assert capfd.readouterr() == ("talk\n", "")
    assert run_trainer("talk", variables=variables, aside=True) == 0
    assert capfd.readouterr() == ("", "talk\n")


def test_ctrl_c_waits_for_the_module_to_say_goodbye(tmp_path: Path) -> None:
    """Both get the signal, as in a terminal; the module takes longer than subprocess.run would wait."""
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "print('up', flush=True)\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: time.sleep(1.5); print('saved', flush=True); raise SystemExit(130)\n"
    )
    code = "import sys; from cli.workload import run_trainer; sys.exit(run_trainer('slow'))"
    paths = os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2])))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "saved\n"
    assert process.returncode == 130
