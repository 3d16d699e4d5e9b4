"""A crash at every named failpoint, by exception and by SIGKILL; what is restored afterwards is whole."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fake_s3 import Folder
from one_box import box_in, die, live

from contract import failpoints
from contract.layout import RunLayout
from contract.status import Latest, Manifest, Phase, Status
from trainer.checkpoint import newest_checkpoint

HOME = Path(__file__).resolve().parents[2]
LAYOUT = RunLayout("demo")
FIRST_BOX_STEPS = 3


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Forks of a process that has imported everything and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["one_box"])
    with pytest.MonkeyPatch.context() as patched:  # the server finds what it preloads only so
        patched.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(HOME)]))
        ensure_running()
    return context


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place, because every step is flushed to the disk."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as name:
        yield a_run_in(Path(name))


def a_run_in(folder: Path) -> Path:
    """A run whose first box has died, whose newest checkpoint is damaged and which has an unfinished one."""
    live(folder, "i-first", checkpoints=FIRST_BOX_STEPS, finish=False)
    bucket = Folder(folder / "bucket")
    newest = Latest.model_validate_json(bucket[LAYOUT.latest]).checkpoints[0]
    bucket[LAYOUT.checkpoint(newest) + "step-00000003.ckpt"] = b"damaged"
    bucket[LAYOUT.checkpoint("0000000009-dead") + "step-00000009.ckpt"] = b"half"
    return folder


def test_every_name_is_reached_somewhere_and_every_place_has_a_name() -> None:
    sources = [path for room in ("bootstrap", "trainer") for path in (HOME / room).glob("*.py")]
    reached = re.findall(r'reach\("([^"]+)"\)', "".join(path.read_text() for path in sources))
    assert sorted(reached) == sorted(failpoints.NAMES)


@pytest.mark.parametrize("name", sorted(failpoints.NAMES))
def test_after_a_crash_the_next_box_goes_on(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "armed", "")
    with pytest.raises(failpoints.Crash, match=re.escape(name)):
        die(folder, "i-crashed", name)
    monkeypatch.setattr(failpoints, "armed", "")
    check_what_is_left(folder)


@pytest.mark.parametrize("name", sorted(failpoints.NAMES))
def test_after_a_sigkill_the_next_box_goes_on(name: str, folder: Path, processes: ForkServerContext) -> None:
    process = processes.Process(target=die, args=(folder, "i-crashed", f"{name}:kill"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    check_what_is_left(folder)


def test_the_environment_arms_a_failpoint() -> None:
    program = "from contract.failpoints import reach; reach('lease.before'); print('on'); reach('lease.after')"
    environment = {**os.environ, "SIGNSPOT_FAILPOINT": "lease.after:kill"}
    done = subprocess.run(
        [sys.executable, "-uc", program], cwd=HOME, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "on\n")


def check_what_is_left(folder: Path) -> None:
    bucket = Folder(folder / "bucket")
    crashed = box_in(folder, "i-crashed")
    newest_checkpoint(crashed.paths.checkpoints)  # what is on its disk can be read, were it to resume there
    state_file = crashed.paths.state / "state.json"
    acknowledged = crashed.load().checkpoint_step if state_file.exists() and crashed.load().checkpoint else 0
    finished = Status.model_validate_json(bucket[LAYOUT.status]).phase is Phase.DONE
    began = live(folder, "i-next", checkpoints=2, finish=True)
    assert began >= max(acknowledged, 2), "work was lost"
    status = Status.model_validate_json(bucket[LAYOUT.status])
    assert status.phase is Phase.DONE
    verify(bucket, LAYOUT.model_manifest, LAYOUT.model)
    latest = Latest.model_validate_json(bucket[LAYOUT.latest])
    for checkpoint in latest.kept:
        verify(bucket, LAYOUT.checkpoint_manifest(checkpoint), LAYOUT.checkpoint(checkpoint))
    if not finished:
        assert status.checkpoint_step == began + 2
        left = {key.removeprefix(LAYOUT.checkpoints).split("/")[0] for key in bucket if LAYOUT.checkpoints in key}
        assert left == set(latest.kept), "something unfinished is left"


def verify(bucket: Folder, manifest: str, prefix: str) -> None:
    files = Manifest.model_validate_json(bucket[manifest]).files
    assert files
    for file in files:
        assert hashlib.sha256(bucket[prefix + file.name]).hexdigest() == file.sha256
