"""What ours is held against when files go to S3 and back: `aws s3 sync` and `rclone copy`, as a user would call them.

Enters: a server, shapes of folders, a scale. Leaves: files, commands, costs, rows of a Result. Sides run in turn, so
that each run of ours stands beside one of each peer.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from benchmarks.pairs import Cost, run
from benchmarks.result import Aim, Baseline, Row
from benchmarks.s3_server import BUCKET, MISSING, PROGRAM, VERSION, S3Server
from bootstrap.state import State
from bootstrap.store import RunStore
from contract.box import BoxPaths
from contract.config import load_config
from contract.status import Phase

OURS = "ours"
BARE = Path(__file__).with_name("bare.py")
CHUNK_BYTES = 1 << 24


UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True)
class Shape:
    """A folder of equal files."""

    files: int
    file_bytes: int

    @property
    def name(self) -> str:
        size, unit = next(((size, unit) for size, unit in UNITS if self.file_bytes >= size), (1, "B"))
        return f"{self.files:,} × {self.file_bytes / size:g} {unit}"

    @property
    def total_bytes(self) -> int:
        return self.files * self.file_bytes

    def make(self, folder: Path) -> Path:
        """Random bytes, which nobody can make smaller; the same each time."""
        folder.mkdir(parents=True)
        noise = random.Random(0)  # noqa: S311
        for number in range(self.files):
            with (folder / f"shard-{number:05d}.bin").open("wb") as file:
                for begin in range(0, self.file_bytes, CHUNK_BYTES):
                    file.write(noise.randbytes(min(CHUNK_BYTES, self.file_bytes - begin)))
        return folder


ONE_LARGE, SOME, MANY_SMALL = Shape(1, 2_000_000_000), Shape(200, 1_000_000), Shape(5_000, 10_000)
SHARE = 0.25
"""Of the large file, unless another is asked for."""


def shapes(share: float) -> tuple[Shape, ...]:
    """One large file, of which `share` is enough, for it takes the most time; folders of many are whole."""
    return Shape(1, round(ONE_LARGE.file_bytes * share)), SOME, MANY_SMALL


@dataclass(frozen=True)
class Peer:
    baseline: Baseline
    upload: Callable[[Path, str], list[str]]
    """The command that brings a folder to a prefix."""
    download: Callable[[str, Path], list[str]]


def aws() -> Peer:
    command = [str(Path(sys.executable).with_name("aws")), "s3", "sync", "--only-show-errors"]
    try:
        baseline = Baseline(name="aws s3 sync", version=f"aws-cli {version('awscli')}")
    except PackageNotFoundError:
        baseline = Baseline(name="aws s3 sync", missing="the package awscli is not installed")
    return Peer(
        baseline,
        lambda folder, prefix: [*command, str(folder), f"s3://{BUCKET}/{prefix}"],
        lambda prefix, folder: [*command, f"s3://{BUCKET}/{prefix}", str(folder)],
    )


def rclone() -> Peer:
    command = [str(PROGRAM), "copy"]
    baseline = Baseline(name="rclone copy", version=VERSION, missing="" if VERSION else MISSING)
    remote = f":s3:{BUCKET}/"
    return Peer(
        baseline,
        lambda folder, prefix: [*command, str(folder), remote + prefix],
        lambda prefix, folder: [*command, remote + prefix, str(folder)],
    )


def environment(server: S3Server) -> dict[str, str]:
    """In which both peers, and ours, find the server."""
    return server.environment | {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_ENDPOINT": server.endpoint,
    }


def make_box(server: S3Server, root: Path, run: str, checkpoints: Path) -> dict[str, str]:
    """A box that has taken the run over, with a folder of checkpoints that is not in S3 yet; its environment."""
    paths = BoxPaths(root)
    for directory in (paths.home, paths.logs, paths.output, paths.state):
        directory.mkdir(parents=True)
    paths.checkpoints.symlink_to(checkpoints.resolve())
    paths.config.write_text(load_config(None, {"run": run}).model_dump_json())
    lease = RunStore(server.client(), BUCKET, run).take_lease("i-bench", datetime.now(UTC))
    state = State(lease=lease, phase=Phase.TRAINING, synced=())
    (paths.state / "state.json").write_text(state.model_dump_json())
    box = {"RUN": run, "BUCKET": BUCKET, "DATA": "", "INSTANCE_ID": "i-bench", "SIGNSPOT_ROOT": str(root)}
    return environment(server) | box


@dataclass(frozen=True)
class Measured:
    """One command, and what the server saw of it."""

    cost: Cost
    requests: int
    object_bytes: int
    server_cpu_seconds: float


def measure(server: S3Server, command: Sequence[str], env: Mapping[str, str]) -> Measured:
    before = server.traffic()
    cost = run(command, env=env)
    traffic = server.traffic().since(before)
    return Measured(cost, traffic.requests, traffic.object_bytes, traffic.cpu_seconds)


def bare(do: Literal["get", "put"], prefix: str, folder: Path, env: Mapping[str, str]) -> float:
    """Seconds that the least program takes, see there."""
    return run([sys.executable, BARE, do, BUCKET, prefix, folder], env=env).seconds


def in_turn(sides: Mapping[str, Callable[[], None]], number: int) -> None:
    """Each side `number` times. Who begins changes, and who comes after whom: one may leave a busy disk behind."""
    names = list(sides)
    for turn in range(number):
        shift = turn // 2 % len(names)
        order = names[shift:] + names[:shift]
        for name in order if turn % 2 == 0 else reversed(order):
            sides[name]()
        print(f"turn {turn + 1} of {number}", file=sys.stderr, flush=True)


Found = dict[str, dict[str, list[Measured]]]
"""By side, then by what was done."""
LEAST = (
    "The least (*limit*) is the quickest of a turn without the peer itself: another side, or `benchmarks/bare.py`, "
    "a page of Python with boto3 that moves the bytes and hardly does more."
)

MEASURES: dict[str, tuple[str, Callable[[Measured], float]]] = {
    "time": ("s", lambda one: one.cost.seconds),
    "processor": ("s", lambda one: one.cost.cpu_seconds),
    "the server's processor": ("s", lambda one: one.server_cpu_seconds),
    "peak memory": ("MiB", lambda one: one.cost.peak_mib),
    "requests": ("requests", lambda one: one.requests),
}


def rows(found: Found, aims: Mapping[tuple[str, str], Aim], leanest: Mapping[str, Sequence[float]]) -> list[Row]:
    """A row for each thing done, measure and peer; `aims` by thing and measure, `leanest` as `bare` says, by thing."""
    made = []

    def least(what: str, peer: str) -> tuple[float, ...]:
        others = [done[what] for name, done in found.items() if name != peer]
        turns = zip(leanest.get(what, ()), *others, strict=False)
        return tuple(round(min(one, *(side.cost.seconds for side in sides)), 3) for one, *sides in turns)

    for what, ours in found[OURS].items():
        for measure_name, (unit, value) in MEASURES.items():
            mine = tuple(round(value(one), 3) for one in ours)
            aim = aims.get((what, measure_name))
            for peer in [name for name in found if name != OURS] or [""]:
                theirs = tuple(round(value(one), 3) for one in found[peer][what]) if peer else ()
                made.append(
                    Row(
                        measure=f"{what}: {measure_name}",
                        unit=unit,
                        ours=mine,
                        theirs=theirs,
                        least=least(what, peer) if theirs and measure_name == "time" else (),
                        against=peer,
                        aim=aim,
                    )
                )
    return made
