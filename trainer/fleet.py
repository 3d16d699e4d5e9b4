"""Clips on the machines of a Ray cluster. Enters: tasks of an extraction. Leaves: answers as they come.

A task a clip, nothing larger: a worker that is lost costs the clip it had in hand, which Ray gives to another. The
clip and the hand model travel with the task, so the machines share no disk. The same job runs on the same bytes as in
`workers.run_jobs`, which this stands in for; there, too, is why there is no TensorFlow.
"""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainer.cluster import joined
from trainer.extract import Answer, Job, Missing, Task, library_versions
from trainer.workers import Crash

RETRIES = 3
"""Times that a clip is given to another worker when its own is lost. One that makes every worker crash is a Crash."""
AHEAD = 2
"""Clips sent for each CPU, so that a worker finds its next one waiting."""


@dataclass(frozen=True)
class Parcel:
    """A task that can be done anywhere."""

    task: Task
    clip: bytes | None
    """None: there is no such file here, and the job is to say so."""
    keypoints: bytes | None
    versions: Mapping[str, str]
    """Of the libraries that decide on the result."""

    @classmethod
    def of(cls, task: Task, versions: Mapping[str, str]) -> Parcel:
        clip = task.clip.read_bytes() if task.clip.is_file() else None
        return cls(task, clip, None if task.model else task.keypoints.read_bytes(), versions)


def work(job: Job, parcel: Parcel, model: bytes | None) -> Answer | Crash:
    """One clip, on any machine."""
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    here = library_versions()
    if here != parcel.versions:
        return Missing(
            "a machine of the cluster would give other keypoints than this one",
            f"there {_shown(here)}, here {_shown(parcel.versions)}",
            "install what requirements/laptop.txt pins on every machine",
        )
    with TemporaryDirectory(prefix="signspot-") as name:
        folder, task = Path(name), parcel.task
        task = replace(
            task,
            clip=_put(folder / "clip" / task.clip.name, parcel.clip),
            keypoints=_put(folder / "keypoints.npy", parcel.keypoints),
            model=_put(folder / "hand_landmarker.task", model) if task.model else None,
        )
        try:
            return job(task)
        except Exception:
            return Crash(traceback.format_exc())


def run_on_ray(
    ray: Any, job: Job, tasks: Iterable[Task], at_once: int = 0
) -> Generator[tuple[Task, Answer | Crash], None, None]:
    """Yield each task with its answer, in the order they finish; closing the iterator cancels the rest.

    `at_once`: clips under way at most; 0: as many as the cluster's CPUs can take, counted again for each.
    """
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(work)
    waiting, versions = deque(tasks), library_versions()
    models: dict[Path | None, Any] = {None: None}
    under_way: dict[Any, Task] = {}
    try:
        while waiting or under_way:
            room = at_once or AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(under_way) < room:
                task = waiting.popleft()
                if task.model not in models:
                    models[task.model] = ray.put(task.model.read_bytes() if task.model else None)
                under_way[remote.remote(job, Parcel.of(task, versions), models[task.model])] = task
            for answered in ray.wait(list(under_way), num_returns=1)[0]:
                task = under_way.pop(answered)
                try:
                    answer: Answer | Crash = ray.get(answered)
                except ray.exceptions.RayError as error:
                    answer = Crash(f"{type(error).__name__}, tried {RETRIES + 1} times")
                yield task, answer
    finally:
        for answered in under_way:
            ray.cancel(answered, force=True)


def run_at(address: str, cpus: int | None = None) -> Any:
    """`run_on_ray` on the cluster at the address, in the shape of `workers.run_jobs`."""

    def run(job: Job, tasks: Iterable[Task], at_once: int) -> Generator[tuple[Task, Answer | Crash], None, None]:
        listed = list(tasks)
        if listed:
            with joined(address, cpus) as ray:
                yield from run_on_ray(ray, job, listed, at_once)

    return run


def _put(path: Path, content: bytes | None) -> Path:
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    return path


def _shown(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
