"""A trainer of one's own: the example of docs/your-own-trainer.md, killed and gone on with, alone and on two boxes.

PyTorch is not among our packages: `torch_stand_in.py` takes its place.
"""

from __future__ import annotations

import json
import pickle
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from bootstrap.agent import Agent
from bootstrap.install import install_trainer
from bootstrap.metadata import Heard, Metadata, Notice
from bootstrap.state import Box
from bootstrap.sync import read_progress
from bootstrap.workload import Workload
from contract.box import EXIT_DONE, EXIT_SAVED, BoxPaths
from contract.config import Config
from contract.errors import TrainerError
from contract.status import Phase, Status

MakeBox = Callable[..., Box]
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/pytorch"
STAND_IN = Path(__file__).with_name("torch_stand_in.py")
UV = Path(sys.executable).parent / "uv"
STEPS = 400


class Training:
    """The example by the contract alone, without an agent."""

    def __init__(self, folder: Path) -> None:
        self.paths, self.code = BoxPaths(folder / "box"), folder / "code"
        self.code.mkdir(parents=True)
        (self.code / "train.py").write_bytes((EXAMPLE / "train.py").read_bytes())
        (self.code / "torch.py").write_bytes(STAND_IN.read_bytes())
        (self.paths.venv / "bin").mkdir(parents=True)
        (self.paths.venv / "bin/python").symlink_to(sys.executable)
        self.paths.logs.mkdir(parents=True)
        command = ["python", str(self.code / "train.py")]
        self.config = Config.model_validate({"trainer": {"command": command}})

    def start(self) -> Workload:
        return Workload(self.paths, self.config, {})

    def until(self, workload: Workload, step: int) -> None:
        while read_progress(self.paths.progress).step < step:
            assert workload.exit_code is None, self.log
            time.sleep(0.005)

    def finish(self) -> dict[str, Any]:
        workload = self.start()
        while workload.exit_code is None:
            time.sleep(0.02)
        assert workload.exit_code == EXIT_DONE, self.log
        model: dict[str, Any] = pickle.loads((self.paths.model / "model.pt").read_bytes())
        return model

    @property
    def log(self) -> str:
        return (self.paths.logs / "trainer.log").read_text()

    @property
    def begun_at(self) -> list[int]:
        return [int(line.split()[-1]) for line in self.log.splitlines() if line.startswith("begins at step")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return Training(tmp_path_factory.mktemp("undisturbed")).finish()


def test_the_example_survives_a_notice_and_a_kill(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    training = Training(tmp_path / "disturbed")
    workload = training.start()
    training.until(workload, 60)
    assert workload.stop(10) == EXIT_SAVED
    saved = read_progress(training.paths.progress).step

    workload = training.start()
    training.until(workload, saved + 60)
    assert workload.clear() == -signal.SIGKILL

    assert training.finish() == undisturbed
    assert training.begun_at[:2] == [0, saved]
    assert saved <= training.begun_at[2] < STEPS, "what a kill costs is less than 50 steps"
    assert all(abs(weight - 1) < 0.05 for weight in undisturbed["weights"]), "it learns the sum of its inputs"


# --- on boxes: its code, its packages, its environment -------------------------------------------------


@pytest.fixture
def own(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Box]:
    """A box with the example's folder; uv makes real environments, and PyTorch is the stand-in."""
    monkeypatch.setattr(install_trainer.retry, "wait", wait_none())  # type: ignore[attr-defined]

    def make(instance: str) -> Box:
        box = make_box(instance)
        paths, q = box.paths, shlex.quote
        paths.code.mkdir()
        for file in EXAMPLE.iterdir():
            (paths.code / file.name).write_bytes(file.read_bytes())
        (paths.venv / "bin").mkdir(parents=True)
        (paths.venv / "bin/python").symlink_to(sys.executable)
        lines = (
            f"echo $* >>{q(str(paths.root / 'uv.log'))}",
            '[ "$1" != venv ] || { for last; do :; done; '
            f'exec {q(str(UV))} venv -q --clear --python {q(sys.executable)} "$last"; }}',
            f'exec cp {q(str(STAND_IN))} "$(echo "$(dirname "$5")"/../lib/python*/site-packages)/torch.py"',
        )
        (paths.venv / "bin/uv").write_text("\n".join(("#!/bin/sh", *lines, "")))
        (paths.venv / "bin/uv").chmod(0o755)
        tree = box.config.model_dump()
        tree["run"]["code"], tree["trainer"] = "code", {"command": ("python", "train.py")}
        return replace(box, config=Config.model_validate(tree))

    return make


class AtStep(Metadata):
    """A notice from a certain step on."""

    def __init__(self, box: Box, step: int) -> None:
        super().__init__("http://127.0.0.1:9")
        self._box, self._step = box, step

    def get(self, path: str) -> str | None:
        return None

    def listen(self) -> Heard:
        return Heard(Notice("spot", None) if read_progress(self._box.paths.progress).step >= self._step else None)


def live(box: Box, notice_at: int) -> int:
    return Agent(
        box,
        AtStep(box, notice_at),
        preparations=(install_trainer,),
        wait_after_notice_seconds=0,
        sleep=lambda seconds: time.sleep(min(seconds, 0.05)),
    ).run()


def test_a_second_box_goes_on_with_it(own: Callable[[str], Box], s3: Any, undisturbed: dict[str, Any]) -> None:
    first, second = own("i-1"), own("i-2")
    assert live(first, 100) == EXIT_SAVED
    saved = read_progress(first.paths.progress).step
    assert live(second, 10 * STEPS) == EXIT_DONE
    log = (second.paths.logs / "trainer.log").read_text()
    assert f"begins at step {saved}\n" in log
    assert f"below {second.paths.code_venv}\n" in log, "in the environment of its own"
    body = s3.get_object(Bucket="bucket", Key="runs/demo/model/model.pt")["Body"].read()
    assert pickle.loads(body) == undisturbed
    status = Status.model_validate_json(s3.get_object(Bucket="bucket", Key="runs/demo/status.json")["Body"].read())
    assert (status.phase, status.progress.step) == (Phase.DONE, STEPS)
    assert json.loads(second.paths.progress.read_text())["metrics"]["loss"] < 0.1


def test_the_agents_environment_is_left_alone(own: Callable[[str], Box]) -> None:
    box = own("i-1")
    install_trainer(box)
    installs = [line for line in (box.paths.root / "uv.log").read_text().splitlines() if line.startswith("pip")]
    code = box.paths.code
    assert installs == [f"pip install -q --python {box.paths.code_venv}/bin/python -r {code}/requirements.txt"]
    assert not list((box.paths.venv).rglob("torch.py"))


def test_without_requirements_there_is_python_and_no_more(own: Callable[[str], Box]) -> None:
    box = own("i-1")
    (box.paths.code / "requirements.txt").unlink()
    install_trainer(box)
    assert "pip" not in (box.paths.root / "uv.log").read_text()
    assert (box.paths.code_venv / "bin/python").exists()


def test_a_package_with_another_hash_is_refused_by_uv_itself(own: Callable[[str], Box], tmp_path: Path) -> None:
    box = own("i-1")
    wheel = tmp_path / "torch-1.0-py3-none-any.whl"
    make_wheel(wheel)
    (box.paths.venv / "bin/uv").unlink()
    (box.paths.venv / "bin/uv").symlink_to(UV)
    wanted = box.paths.code / "requirements.txt"
    wanted.write_text(f"torch @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(TrainerError, match=r"run.code's requirements.txt") as caught:
        install_trainer(box)
    assert "ash mismatch" in str(caught.value)
    digest = subprocess.run(["sha256sum", wheel], capture_output=True, text=True, check=True).stdout.split()[0]
    wanted.write_text(f"torch @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    install_trainer(box)
    assert list(box.paths.code_venv.rglob("site-packages/torch.py"))


def make_wheel(path: Path) -> None:
    import zipfile

    about = "torch-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(STAND_IN, "torch.py")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", f"torch.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
