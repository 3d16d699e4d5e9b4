"""What checkpoints and sync cost the training. `python -m benchmarks.checkpoint_overhead`

One training, so that no difference between two processes is measured. Its trainer writes a checkpoint every
`2 × interval` seconds. In the half around each checkpoint the real agent runs: looks, listens, uploads, verifies, tells
S3 how things stand; in the half without one it is stopped (SIGSTOP): that is the same training without. Each half with
is compared with the mean of the two halves beside it, so that a machine that slowly gets faster counts for nothing.

Three ratios. *Steps a second* is what a user sees; on a shared machine it varies by far more than is looked for.
*Processor seconds per step*, of trainer, agent and of serving S3 (moto) and the instance metadata, which share this
machine, over the trainer's alone, varies less. *Work beside training* varies least, and is a bound: what the agent
used in the halves with and what saving takes by the clock, as if every bit of it had kept the trainer waiting; once
more with the serving, which on AWS others do. Keras's way is measured beside the same training, the agent stopped.
Enters: seconds and pairs. Leaves: a Result with all three.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks import keras_way
from benchmarks.pairs import arguments
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.table import show
from contract.box import BoxPaths
from contract.config import Config, load_config
from contract.status import Progress
from trainer.sample import make_sample

WITHOUT = "the same training without agent and checkpoints"
AIM_SECONDS = 0.3
"""A checkpoint may cost the training, whatever the interval: 1 % where it is 30 s."""
WORK = "processor seconds beside training, an interval"
BOUND = "work beside training, a bound"
SERVING = "with the serving of S3"
SAMPLE_WORDS = 8
WARM_UP_SECONDS = 20.0
BEFORE_SECONDS = 2.0
"""A half with a checkpoint begins this long before it."""
AGENT = """
import gc, os, signal, sys
from bootstrap.agent import Agent
from bootstrap.metadata import Metadata
from bootstrap.state import Box
metadata = Metadata(os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"])
agent = Agent(Box.from_environment(os.environ), metadata, preparations=(), wait_after_notice_seconds=0)
signal.signal(signal.SIGTERM, agent.terminate)
gc.freeze()
sys.exit(agent.run())
"""
AWS = """
import json, sys
from rehearsal.aws import EmulatedAws
from rehearsal.imds import Identity, Imds
imds = Imds(Identity("i-bench", "g4dn.xlarge", "us-east-1", "us-east-1a", "", "123456789012", "ami-1"), dict)
with EmulatedAws() as aws:
    aws.client("s3").create_bucket(Bucket="bucket")
    print(json.dumps({**aws.environment(), "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint}), flush=True)
    sys.stdin.read()
imds.close()
"""


class Watch:
    """Steps over time, and when checkpoints came, as seen from outside."""

    def __init__(self, paths: BoxPaths, agent: subprocess.Popen[bytes]) -> None:
        self._paths = paths
        self._agent = agent
        self._times: list[float] = []
        self._steps: list[int] = []
        self._newest = ""

    def until(self, moment: float) -> None:
        while time.monotonic() < moment:
            self._look()
            time.sleep(0.02)

    def checkpoint(self) -> float:
        """Wait for the next new checkpoint; returns when it was there."""
        before = self._newest = self._newest_checkpoint()
        while self._newest == before:
            self._look()
            time.sleep(0.02)
            self._newest = self._newest_checkpoint()
        return time.monotonic()

    def rate(self, begin: float, end: float) -> float:
        """Steps a second between two moments, from the first step seen after each."""
        first, last = bisect_left(self._times, begin), bisect_left(self._times, end)
        return (self._steps[last] - self._steps[first]) / (self._times[last] - self._times[first])

    def _look(self) -> None:
        if self._agent.poll() is not None:
            logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(self._paths.logs.iterdir()))
            sys.exit(f"the training ended with {self._agent.returncode}, too early:\n{logs}")
        try:
            step = Progress.model_validate_json(self._paths.progress.read_bytes()).step
        except (OSError, ValueError):
            return
        if not self._steps or step != self._steps[-1]:
            self._times.append(time.monotonic())
            self._steps.append(step)

    def _newest_checkpoint(self) -> str:
        return max((path.name for path in self._paths.checkpoints.glob("step-*.ckpt")), default="")


@dataclass(frozen=True)
class Half:
    """One half of a period."""

    steps_per_second: float
    seconds: float
    trainer: float
    """Processor seconds, as the next two."""
    agent: float
    serving: float
    """Of S3 (moto) and the instance metadata."""

    @property
    def processor_per_step(self) -> float:
        return (self.trainer + self.agent + self.serving) / (self.steps_per_second * self.seconds)


def processor_seconds(process: int) -> float:
    """User and system time of a process so far (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def aws_beside() -> Iterator[subprocess.Popen[bytes]]:
    """The emulated AWS in a process of its own, which says its environment in one line."""
    with subprocess.Popen([sys.executable, "-c", AWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin
        try:
            yield server
        finally:
            server.stdin.close()


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def make_box(root: Path, data: Path, config: Config) -> BoxPaths:
    paths = BoxPaths(root)
    for directory in (paths.home, paths.logs, paths.checkpoints, paths.model, paths.output, paths.venv / "bin"):
        directory.mkdir(parents=True)
    paths.training.parent.mkdir(parents=True)
    paths.training.symlink_to(data)
    python = paths.venv / "bin/python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    paths.config.write_text(config.model_dump_json())
    return paths


def measure(
    paths: BoxPaths, agent: subprocess.Popen[bytes], server: subprocess.Popen[bytes], pairs: int
) -> tuple[list[Half], list[Half]]:
    """The `pairs` halves with, and the `pairs + 1` halves without before, between and after."""
    watch = Watch(paths, agent)
    watch.until(time.monotonic() + WARM_UP_SECONDS)
    (trainer,) = children(agent.pid)

    def used() -> tuple[float, ...]:
        return tuple(processor_seconds(process) for process in (trainer, agent.pid, server.pid))

    last = watch.checkpoint()
    period = watch.checkpoint() - last  # the agent asks for a little less than was configured
    watch.until(time.monotonic() + period / 2 - BEFORE_SECONDS)
    marks = [(time.monotonic(), used())]
    for _ in range(pairs + 1):
        agent.send_signal(signal.SIGSTOP)
        watch.until(marks[-1][0] + period / 2)
        marks.append((time.monotonic(), used()))
        agent.send_signal(signal.SIGCONT)
        watch.until(watch.checkpoint() + period / 2 - BEFORE_SECONDS)
        marks.append((time.monotonic(), used()))
    watch.until(marks[-1][0] + 1)
    halves = []
    for (begin, before), (end, after) in pairwise(marks):
        spent = (now - then for then, now in zip(before, after, strict=True))
        halves.append(Half(watch.rate(begin, end), end - begin, *spent))
    return halves[1:-1:2], halves[::2]


def saving_seconds(paths: BoxPaths, data: Path, config: Config) -> tuple[float, float]:
    """What one checkpoint takes in the trainer, by the clock and of processor: copied to host memory, written and
    flushed to the disk, one after the other.
    """
    from trainer.checkpoint import Checkpoint, Origin, write_checkpoint
    from trainer.dataset import load_dataset
    from trainer.learner import Learner
    from trainer.state import State

    dataset = load_dataset(data)
    learner = Learner(config.trainer, len(dataset.labels))
    taken, worked = [], []
    for step in range(11):
        began, used = time.perf_counter(), time.process_time()
        best = learner.weights()
        origin = Origin.of(dataset, config.trainer)
        write_checkpoint(paths.output / "saving", Checkpoint(origin, State(step=step), learner.state(), best))
        taken.append(time.perf_counter() - began)
        worked.append(time.process_time() - used)
    return statistics.median(taken), statistics.median(worked)


def main() -> None:
    parser = arguments("checkpoint_overhead", __doc__)
    parser.add_argument("--interval", type=float, default=30, help="seconds between two checkpoints")
    options = parser.parse_args()
    config = load_config(
        None,
        {"epochs": "100000", "patience": "100000", "checkpoint_seconds": str(2 * options.interval), "run": "bench"},
    )
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        data = Path(folder, "sample")
        make_sample(data, words=SAMPLE_WORDS)
        paths = make_box(Path(folder, "box"), data, config)
        server = stack.enter_context(aws_beside())
        assert server.stdout
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **json.loads(server.stdout.readline()),
            **{"RUN": "bench", "BUCKET": "bucket", "DATA": "", "INSTANCE_ID": "i-bench"},
            "SIGNSPOT_ROOT": str(paths.root),
        }
        with (paths.logs / "boot.log").open("wb") as log:
            agent = subprocess.Popen([sys.executable, "-c", AGENT], env=environment, stdout=log, stderr=log)
        try:
            ours, without = measure(paths, agent, server, options.pairs)
            agent.send_signal(signal.SIGSTOP)  # the training goes on: beside one the same work takes more processor
            saving, worked = saving_seconds(paths, data, config)
            theirs = keras_way.processor_seconds(
                Path(folder, "keras"),
                config.trainer,
                words=SAMPLE_WORDS,
                number=options.pairs,
                to="s3://bucket/keras",
                environment=environment,
                serving=lambda: processor_seconds(server.pid),
            )
        finally:
            agent.send_signal(signal.SIGCONT)
            agent.terminate()
            agent.wait(120)
    aim = Aim(number=round(1 + AIM_SECONDS / options.interval, 3), of="ours")
    beside = tuple(options.interval * half.agent / half.seconds for half in ours)
    served = tuple(options.interval * half.serving / half.seconds for half in ours)
    work = tuple(one + worked for one in beside)
    waited = tuple(one + saving for one in beside)
    result = Result(
        name="checkpoint_overhead",
        what=f"What a checkpoint and its sync every {options.interval:g} s cost the training.",
        how="One training; the halves of each period with the agent beside the halves around them without.",
        baselines=(Baseline(name=WITHOUT), *keras_way.baselines()),
        rows=(
            compare("steps a second", "1/s", lambda half: half.steps_per_second, ours, without),
            compare("processor seconds a step", "s", lambda half: half.processor_per_step, ours, without),
            Row(measure=BOUND, unit="×", ours=bound(waited, options.interval), aim=aim),
            Row(measure=f"{BOUND}, {SERVING}", unit="×", ours=bound(added(waited, served), options.interval)),
            *(
                Row(measure=WORK, unit="s", ours=work, theirs=own(done), against=name, aim=Aim(number=0.25))
                for name, done in theirs.items()
            ),
            *(
                Row(measure=f"{WORK}, {SERVING}", unit="s", ours=added(work, served), theirs=in_all(done), against=name)
                for name, done in theirs.items()
            ),
            Row(measure="a checkpoint in the trainer", unit="s", ours=(saving,)),
        ),
        limit="The bound takes all work beside the training, and the wait for the disk, as time that it waited. On AWS "
        "others serve S3; here that (moto) shares the processors. Steps a second differ by more among the halves "
        "without anything. Ours does more in an interval than to save: it hashes, reads back, listens for notices.",
    )
    result.write(options.json)
    show(result)


def bound(seconds: Sequence[float], interval: float) -> tuple[float, ...]:
    """What a training takes at most, over the same without, that waits for all of the work of each interval."""
    return tuple(1 + one / interval for one in seconds)


def added(seconds: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    return tuple(one + other for one, other in zip(seconds, others, strict=True))


def own(done: Sequence[keras_way.Work]) -> tuple[float, ...]:
    return tuple(work.own for work in done)


def in_all(done: Sequence[keras_way.Work]) -> tuple[float, ...]:
    return tuple(work.own + work.serving for work in done)


def compare(name: str, unit: str, of: Callable[[Half], float], ours: Sequence[Half], without: Sequence[Half]) -> Row:
    """Each of ours beside the mean of its two neighbours."""
    theirs = tuple((of(before) + of(after)) / 2 for before, after in pairwise(without))
    return Row(measure=name, unit=unit, ours=tuple(map(of, ours)), theirs=theirs, against=WITHOUT)


if __name__ == "__main__":
    main()
