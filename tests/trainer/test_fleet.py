"""Extraction on a Ray cluster of two CPUs: a process of its own on this machine, one for all tests of this file."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from contract.errors import CloudError
from tests.trainer.clips_for_tests import hand_model, moving_square, needs_opencv, real_clips, write_video
from trainer.cluster import LOOPBACK, joined
from trainer.extract import Answer, Done, Job, Task, extract, extract_clip
from trainer.extract_report import Outcome, Progress
from trainer.fleet import RETRIES, run_on_ray
from trainer.landmarks import Clip, MissingLibrary
from trainer.workers import Crash

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make ray")
CLUSTER = """
import os, sys
from trainer.cluster import joined
with joined("local", cpus=2) as ray:
    print(ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        address, token = cluster.stdout.readline().split()
        heard = [
            one.laddr.ip
            for process in psutil.Process(cluster.pid).children(recursive=True)
            for one in process.net_connections("inet")
            if one.status == psutil.CONN_LISTEN
        ]
        assert heard
        assert {ip.removeprefix("::ffff:") for ip in heard} == {"127.0.0.1"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_AUTH_TOKEN", token)
            for name, value in {"RAY_AUTH_MODE": "token", **LOOPBACK}.items():
                patch.setenv(name, value)
            yield address
        cluster.stdin.close()


@pytest.fixture(scope="module")
def ray(address: str) -> Iterator[Any]:
    with joined(address) as module:
        yield module


@dataclass(frozen=True)
class Loses:
    """Counts the tries of each clip in `ledger`; those named lose their worker, at their first tries or at each."""

    ledger: Path
    once: frozenset[str] = frozenset()
    always: frozenset[str] = frozenset()

    def __call__(self, task: Task) -> Answer:
        assert sys.modules["tensorflow"] is None
        name = task.clip.stem
        with (self.ledger / name).open("a") as tries:
            tries.write("x")
        if name in self.always or (name in self.once and (self.ledger / name).stat().st_size == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        assert task.model is not None
        frames = np.frombuffer(task.clip.read_bytes() + task.model.read_bytes(), np.uint8)
        return Done(Clip(np.full((3, 2, 21, 3), frames.sum(), np.float32), 25.0, 4, 4, ()), None)


def run(ray: Any, videos: Path, to: Path, model: Path, job: Job = extract_clip) -> dict[str, Outcome]:
    def pool(job: Job, tasks: Iterable[Task], at_once: int) -> Generator[tuple[Task, Answer | Crash], None, None]:
        return run_on_ray(ray, job, tasks, at_once)

    progress = Progress(io.StringIO())
    done = extract(videos, to, model, processes=0, progress=progress, job=job, pool=pool)
    return {outcome.clip: outcome for outcome in done}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_lost_worker_costs_only_its_clip_in_hand(ray: Any, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / "videos/tea").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"videos/tea/{number}.mp4").write_bytes(bytes([number]))
    (tmp_path / "model").write_bytes(b"m")
    (tmp_path / "ledger").mkdir()
    job = Loses(tmp_path / "ledger", once=frozenset({"2"}), always=frozenset({"6"}))
    found = run(ray, tmp_path / "videos", tmp_path / "out", tmp_path / "model", job)
    tries = {path.name: path.stat().st_size for path in (tmp_path / "ledger").iterdir()}
    assert tries == dict.fromkeys("013457", 1) | {"2": 2, "6": RETRIES + 1}
    assert {clip for clip, outcome in found.items() if outcome.failure} == {"tea/6.mp4"}
    assert "WorkerCrashedError" in found["tea/6.mp4"].failure
    assert len(list((tmp_path / "out").rglob("*.npy"))) == 7
    again = run(ray, tmp_path / "videos", tmp_path / "out", tmp_path / "model", Loses(tmp_path / "ledger"))
    assert [clip for clip, outcome in again.items() if not outcome.cached] == ["tea/6.mp4"]


def test_what_leaves_is_the_same_bytes_as_without_ray(ray: Any, tmp_path: Path) -> None:
    needs_opencv()
    model, word = hand_model(), tmp_path / "videos/té"
    word.mkdir(parents=True)
    write_video(word / "good.avi", moving_square(6))
    shutil.copy(word / "good.avi", word / ("手" * 83 + ".avi"))
    (word / "empty.mp4").touch()
    (word / "garbage.mkv").write_bytes(bytes(range(256)) * 50)
    (word / "gone.mov").symlink_to("nowhere")
    shutil.copy(real_clips() / "yo/001.mp4", word)
    progress = Progress(io.StringIO())
    here = extract(tmp_path / "videos", tmp_path / "here", model, processes=2, progress=progress)
    there = run(ray, tmp_path / "videos", tmp_path / "there", model)
    assert {outcome.clip: outcome for outcome in here} == there
    assert tree(tmp_path / "here") == tree(tmp_path / "there")
    assert np.load(tmp_path / "there/té/001.npy").any()


def test_a_machine_with_other_libraries_is_refused(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").touch()
    (tmp_path / "model").touch()
    monkeypatch.setattr("trainer.fleet.library_versions", lambda: {"mediapipe": "0.0.1"})
    with pytest.raises(MissingLibrary, match=r"other keypoints.*\n.*here mediapipe 0\.0\.1"):
        run(ray, tmp_path / "videos", tmp_path / "out", tmp_path / "model")


def test_nobody_without_the_token_gets_in(address: str) -> None:
    """The attempt is made by a process of its own: Ray keeps a token for good."""
    command = f"from trainer.cluster import joined\nwith joined('{address}'): pass"
    stranger = {**os.environ, "RAY_AUTH_TOKEN": "0" * 64}
    tried = subprocess.run([sys.executable, "-c", command], env=stranger, capture_output=True, text=True, check=False)
    assert tried.returncode == 1
    assert f"{CloudError.__name__}: no Ray cluster answers" in tried.stderr
