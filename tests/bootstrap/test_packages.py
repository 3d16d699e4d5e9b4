from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bootstrap import packages
from bootstrap.packages import locks
from bootstrap.state import Box

MakeBox = Callable[..., Box]
ROOT = Path(__file__).parents[2]
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux", "python_version": "3.12"}
UV = """#!/bin/sh
echo "$@" >>{calls}
{does}
"""


def with_uv(box: Box, does: str = "true") -> Path:
    """A stand-in for uv in the box's environment, which notes how it was called: there."""
    calls = box.paths.root / "calls"
    uv = box.paths.venv / "bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV.format(calls=calls, does=does))
    uv.chmod(0o755)
    return calls


def run_main(box: Box) -> subprocess.CompletedProcess[bytes]:
    """As install.sh starts it. Bytecode is written whatever the tests' own environment says of it."""
    environment = {**os.environ, "SIGNSPOT_ROOT": str(box.paths.root)}
    command = [sys.executable, "-m", "bootstrap.packages"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("job", "own", "boxes", "gpu", "expected"),
    [
        ("train", False, 1, False, ["box"]),
        ("train", False, 1, True, ["box-gpu"]),
        ("train", True, 1, True, []),
        ("extract", False, 3, True, ["extraction", "ray"]),
        ("sweep", False, 3, True, ["box-gpu", "ray"]),
    ],
)
def test_what_is_installed_follows_from_the_job_and_the_machine(
    job: str, own: bool, boxes: int, gpu: bool, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "GPU", ROOT if gpu else tmp_path / "none")
    found = locks(job, own=own, boxes=boxes)
    assert found == [f"requirements/{name}.txt" for name in expected]
    assert all((ROOT / lock).exists() for lock in found)


def test_the_trainers_packages_are_installed_by_their_hashes_and_what_it_imports_is_compiled(make_box: MakeBox) -> None:
    box = make_box("i-1")
    site = box.paths.venv / "lib/python3.12/site-packages"
    modules = [site / name for name in ("tensorflow/python/b.py", "keras/src/c.py", "keras/d.py", "other/e.py")]
    making = [f"mkdir -p {module.parent}; echo 'x = 1' >{module}" for module in modules]
    broken = f"echo 'print x' >{site}/tensorflow/python/broken.py"
    calls = with_uv(box, "\n".join([*making, broken]))
    done = run_main(box)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (call,) = calls.read_text().splitlines()
    assert "--require-hashes" in call
    (lock,) = locks("train", own=False, boxes=1)
    assert call.endswith(f"{box.paths.home}/{lock}")
    assert [Path(cache_from_source(str(module))).exists() for module in modules] == [True, True, False, False]


def test_nothing_is_installed_for_a_trainer_that_brings_its_own(make_box: MakeBox) -> None:
    box = make_box("i-1")
    calls = with_uv(box)
    config = json.loads(box.paths.config.read_bytes())
    config["run"]["code"] = "code"
    box.paths.config.write_text(json.dumps(config))
    assert run_main(box).returncode == 0
    assert not calls.exists()


def test_what_cannot_be_installed_is_left_to_the_agent(make_box: MakeBox) -> None:
    box = make_box("i-1")
    calls = with_uv(box, "exit 1")
    assert run_main(box).returncode != 0
    assert len(calls.read_text().splitlines()) == 1


def test_it_starts_before_a_package_is_there() -> None:
    """-S: without site-packages."""
    subprocess.run([sys.executable, "-S", "-c", "import bootstrap.packages"], cwd=ROOT, check=True)


def test_with_and_without_cuda_the_trainer_gets_the_same_packages_and_one_tensorflow() -> None:
    """Both write tensorflow/: a box that had the two would run a mixture."""

    def wanted(lock: str) -> dict[str, Requirement]:
        lines = (ROOT / f"requirements/{lock}.txt").read_text().splitlines()
        found = [Requirement(line.rstrip(" \\")) for line in lines if re.match("[a-z]", line)]
        return {one.name: one for one in found if one.marker is None or one.marker.evaluate(LINUX)}

    box, gpu = wanted("box"), wanted("box-gpu")
    assert box.keys() - gpu.keys() == {"tensorflow-cpu"}
    assert {name for name in gpu.keys() - box.keys() if not name.startswith("nvidia-")} == {"tensorflow"}
    assert box["tensorflow-cpu"].specifier == gpu["tensorflow"].specifier
    both = box.keys() & gpu.keys()
    assert {name: str(box[name].specifier) for name in both} == {name: str(gpu[name].specifier) for name in both}


def test_no_package_that_the_agent_may_be_importing_is_replaced_meanwhile() -> None:
    def versions(name: str) -> dict[str, str]:
        lock = (ROOT / f"requirements/{name}.txt").read_text()
        return dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", lock, re.MULTILINE))

    agent = versions("agent")
    assert agent
    for name in ("box", "box-gpu", "extraction", "ray"):
        other = versions(name)
        assert {package: other.get(package, version) for package, version in agent.items()} == agent, name
