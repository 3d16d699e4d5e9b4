"""Instance start → first training step, by phases: our box beside the usual guide's script, each in a sandbox.

Ours is the real stack, user data, agent and trainer on the emulated AWS; theirs a shell script as user data: clone,
`python3 -m venv`, `pip install -r`, `aws s3 sync`, train (Keras on arrays padded to the longest). Same machine, package
index, S3 and dataset. Cold first, with empty caches; then warm: uv's as the cold start left it, wheels for pip. What
AWS takes to hand over an instance comes before and is the same for both. The S3 here is moto, which answers one request
after another: the phase `data` says what a real S3 would make shorter. Enters: how many pairs of each. Leaves: a
Result.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.guide import MARKS, REQUIREMENTS, SCRIPT, make_repository, served
from benchmarks.pairs import arguments, pairs
from benchmarks.result import Aim, Baseline, Published, Result, Row
from benchmarks.table import show
from cli.assembly import Assembly, synthesise
from cli.stage import progress_of
from contract.layout import RunLayout
from contract.status import Event
from rehearsal.aws import EmulatedAws
from rehearsal.datacenter import Datacenter
from rehearsal.sandbox import Sandbox, namespaces_refused
from rehearsal.workdir import Workdir
from trainer.sample import make_sample

RUN = "bench"
LIMIT_SECONDS = 400
PER_WORD_AND_SIGNER = 4
"""Clips of the dataset: 256 in all."""
POLL_SECONDS = 0.02
FIRST_STEP = "the trainer's start"
OURS = {"booting": "Python and the agent", "ready": "packages, data, checkpoint", "training": "the agent's word"}
"""Our phases by the event that ends them."""
THEIRS = {"cloned": "clone", "venv": "venv", "installed": "packages", "synced": "data"}
"""The guide's, by the word that its script writes down."""
UV_CACHE = Path("/opt/uv-cache")
"""On one disk with our box's environment, as on an instance: uv links what it has there, and copies nothing."""
NETWORK = {"UV_OFFLINE": "0", "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
"""A rehearsal's boxes install from what `make setup` brought; these ask the index."""


class Failed(Exception):
    """A box did not come to its first step; says why."""


@dataclass(frozen=True)
class Start:
    """Seconds from the instance's start to the first training step."""

    seconds: float
    phases: Mapping[str, float]

    @classmethod
    def of(cls, began: float, marks: Mapping[str, float], names: Mapping[str, str], stepped: float) -> Start:
        """`marks`: when each phase of `names` ended, in seconds since 1970, as `began` and `stepped` are."""
        phases, last = {}, began
        for mark, name in names.items():
            phases[name] = marks[mark] - last
            last = marks[mark]
        return cls(stepped - began, {**phases, FIRST_STEP: stepped - last})


@dataclass
class Place:
    """One emulated account with our stack in it, and folders for the package caches."""

    aws: EmulatedAws
    work: Path
    repository: str
    """What the guide has its reader clone."""
    data: str
    """Where the guide finds the dataset: s3://…"""
    kept: Path
    """uv's cache, between two starts of ours."""
    guide: dict[str, str]
    """The guide's environment."""
    datacenter: Datacenter
    assembly: Assembly
    guides: int = 0
    outputs: dict[str, str] = field(default_factory=dict)

    def ours(self) -> Start:
        """A box of a run that has no checkpoint yet."""
        before = len(self.datacenter.boxes)
        if self.outputs:
            self._resize(1)
        else:
            self.outputs = self.assembly.deploy()
        self._wait(lambda: len(self.datacenter.boxes) > before, "no instance")
        box = self.datacenter.boxes[-1]
        self._wait(lambda: progress_of(box).step > 0 or not box.alive, box.sandbox.console)
        stepped = time.time()
        if not box.alive:
            raise Failed(tail(box.sandbox.console))
        marks = {event.kind: event.time.timestamp() for event in reversed(self._events())}
        self._resize(0)
        self._wait(lambda: not self.datacenter.alive(), "the instance lives on")
        self._forget()
        keep(box.sandbox, self.kept)
        return Start.of(box.started.timestamp(), marks, OURS, stepped)

    def theirs(self) -> Start:
        self.guides += 1
        environment = {**self.aws.environment(), **self.guide, "REPOSITORY": self.repository, "DATA": self.data}
        box = Sandbox(self.work / f"guide-{self.guides}", SCRIPT, environment=environment)
        box.work.mkdir(parents=True)
        written = box.path(MARKS)
        began = time.time()
        with box:
            self._wait(lambda: {"stepped", "failed"} & read_marks(written).keys() or not box.alive, box.console)
            marks = read_marks(written)
        if "stepped" not in marks:
            raise Failed(tail(box.console))
        return Start.of(began, marks, THEIRS, marks["stepped"])  # its files stay until the end, see `fetch`

    def forget_packages(self) -> None:
        """All caches are empty again; what was in them is removed at the end only, see `fetch`."""
        for cache in (self.kept, Path(self.guide["PIP_CACHE_DIR"])):
            if cache.is_dir():
                cache.rename(f"{cache}-before-{time.monotonic_ns()}")

    def warm_the_guide(self) -> None:
        """All that its `pip install` asks for is here: pip's own cache holds only what an index lets it hold."""
        wheels = Path(self.guide["PIP_CACHE_DIR"], "wheels")
        listed = self.work / "repository/requirements.txt"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", "-r", listed, "-d", wheels],
            check=True,
        )
        self.guide |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}

    def _wait(self, condition: Callable[[], object], what: str | Path) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            if self.datacenter.error:
                raise self.datacenter.error
            if time.monotonic() > deadline:
                raise Failed(f"not within {LIMIT_SECONDS} s: {tail(what) if isinstance(what, Path) else what}")
            time.sleep(POLL_SECONDS)

    def _resize(self, desired: int) -> None:
        group = self.aws.client("autoscaling")
        group.set_desired_capacity(AutoScalingGroupName=self.outputs["Group"], DesiredCapacity=desired)

    def _keys(self, prefix: str) -> list[str]:
        pages = self.aws.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.outputs["Bucket"], Prefix=prefix)
        return [one["Key"] for page in found for one in page.get("Contents", [])]

    def _events(self) -> list[Event]:
        s3, bucket = self.aws.client("s3"), self.outputs["Bucket"]
        bodies = [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in self._keys(RunLayout(RUN).events)]
        return [Event.model_validate_json(body) for body in bodies]

    def _forget(self) -> None:
        """The run has never been: the next box begins anew."""
        for key in self._keys(RunLayout(RUN).prefix):
            self.aws.client("s3").delete_object(Bucket=self.outputs["Bucket"], Key=key)


def read_marks(file: Path) -> dict[str, float]:
    """When each word was written first."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {word: float(moment) for word, moment in reversed([line.split() for line in lines])}


def give(box: Sandbox, kept: Path) -> None:
    """To a box that has not started: the cache that an earlier one left, where one did."""
    if box.kind == "namespaces" and kept.is_dir():
        box.path(UV_CACHE).parent.mkdir(parents=True)
        shutil.move(kept, box.path(UV_CACHE))


def keep(box: Sandbox, kept: Path) -> None:
    """From a box that has ended: its cache."""
    if box.kind == "namespaces":
        shutil.move(box.path(UV_CACHE), kept)


def tail(console: str | Path) -> str:
    text = console.read_text(errors="replace") if isinstance(console, Path) else console
    return text.strip()[-1500:]


@contextmanager
def opened() -> Iterator[Place]:
    with ExitStack() as stack:
        work = stack.enter_context(Workdir())
        data = work / "sample"
        make_sample(data, per_word_and_signer=PER_WORD_AND_SIGNER)
        aws = stack.enter_context(EmulatedAws())
        aws.client("s3").create_bucket(Bucket="guide")
        for file in data.rglob("*"):
            if file.is_file():
                aws.client("s3").upload_file(str(file), "guide", f"data/{file.relative_to(data)}")
        (work / "boxes").mkdir()
        kept = work / "uv-cache"
        inside = kept if namespaces_refused(work / "boxes") else UV_CACHE
        ours = {**NETWORK, "UV_CACHE_DIR": str(inside), "UV_LINK_MODE": "hardlink"}
        theirs = {**NETWORK, "PIP_CACHE_DIR": str(work / "pip-cache")}
        datacenter = Datacenter(aws, work / "boxes", environment=ours, prepare=lambda box: give(box, kept))
        assembly = Assembly(synthesise(work / "assembly", {"run": RUN, "data.path": str(data)}), RUN, aws)
        assembly.bootstrap()
        stack.enter_context(datacenter)
        make_repository(work / "repository")
        repository = stack.enter_context(served(work / "repository/.git"))
        yield Place(aws, work, repository, "s3://guide/data", kept, theirs, datacenter, assembly)


def phases(kind: str, ours: list[Start], theirs: list[Start]) -> list[Row]:
    """Each side's phases, without the other's: they are not the same ones."""
    return [
        Row(measure=f"{kind}, {whose}: {name}", unit="s", ours=tuple(start.phases[name] for start in starts))
        for whose, starts in (("ours", ours), ("the guide's", theirs))
        for name in (starts[0].phases if starts else ())
    ]


def rows(kind: str, ours: list[Start], theirs: list[Start]) -> list[Row]:
    one, other = (tuple(start.seconds for start in side) for side in (ours, theirs))
    whole = Row(measure=f"{kind}: start → first step", unit="s", ours=one, theirs=other, aim=Aim(number=0.25))
    return [whole, *phases(kind, ours, theirs)]


def attempt(side: Callable[[], Start]) -> tuple[list[Start], str]:
    """One start, or why there was none."""
    try:
        return [side()], ""
    except Failed as error:
        return [], str(error)


def limit(cold: list[Start], warm: list[Start], theirs: list[Start]) -> str:
    """What of a cold start no faster network could change; `theirs` are cold ones."""
    if not theirs:
        return ""
    ours, least, whole = (statistics.median(start.seconds for start in side) for side in (cold, warm, theirs))
    training = statistics.median(start.phases[FIRST_STEP] for start in warm)
    return (
        f"Of our cold {ours:.1f} s, {ours - least:.1f} s go by for fetching and unpacking packages; the {least:.1f} s "
        f"that a warm start takes are {least / whole:.2f} of the guide's cold {whole:.1f} s already, {training:.1f} s "
        "of them the trainer's: TensorFlow's import and the first call of a compiled step."
    )


def report(found: list[Row], missing: str, why: str) -> Result:
    listed = " ".join(("tensorflow", *REQUIREMENTS))
    return Result(
        name="start",
        what="Instance start → first training step, on a machine without a GPU: no CUDA is installed on either side.",
        how="Each side in a sandbox of this machine, from its start to its first step; same index, S3 (moto), dataset. "
        "Cold: no package in any cache. Warm: ours finds uv's cache on its disk as the cold start left it, the guide "
        "its wheels.",
        baselines=(Baseline(name=f"the usual guide's script, `pip install {listed}`", missing=missing),),
        rows=tuple(found),
        published=(
            Published(
                who="SkyPilot, PR#4091",
                value="1 min 41 s until ready to run, without the search for capacity",
                source="https://github.com/skypilot-org/skypilot/pull/4091",
            ),
        ),
        limit=why,
    )


def main() -> None:
    parser = arguments("start", __doc__, 2)
    parser.add_argument("--cold", type=int, default=1, help="runs of each side with empty caches (default %(default)s)")
    options = parser.parse_args()
    with opened() as place:
        ours, theirs, missing = [place.ours()], *attempt(place.theirs)
        for _ in range(0 if missing else options.cold - 1):
            place.forget_packages()
            ours.append(place.ours())
            theirs.append(place.theirs())
        found, cold = rows("cold", ours, theirs), (ours, theirs)
        if missing:
            ours, theirs = [place.ours() for _ in range(options.pairs)], []
        else:
            place.warm_the_guide()
            ours, theirs = pairs(place.ours, place.theirs, options.pairs)
        result = report([*found, *rows("warm", ours, theirs)], missing, limit(cold[0], ours, cold[1]))
        result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
