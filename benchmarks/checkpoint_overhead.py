"""What checkpoints and sync cost the training. `python benchmarks/checkpoint_overhead.py --interval 30 --pairs 10`

One training, so that no difference between two processes is measured. Its trainer writes a checkpoint every
`2 × interval` seconds. In the half around each checkpoint the real agent runs: looks, listens, uploads, verifies, tells
S3 how things stand; in the half without one it is stopped (SIGSTOP): that is the same training without. Each half with
is compared with the mean of the two halves beside it, so that a machine that slowly gets faster counts for nothing.

Three ratios. *Steps a second* is what a user sees; on a shared machine it varies by far more than is looked for.
*Processor seconds per step*, of trainer, agent and of serving S3 (moto) and the instance metadata, which share this
machine, over the trainer's alone, varies less. *Work beside training* varies least, and is a bound: what agent, serving
and saving used in the halves with, as if every bit of it had kept the trainer waiting. Enters: seconds and pairs.
Leaves: all three, as text and JSON.
"""

from __future__ import annotations

import argparse
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
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from contract.box import BoxPaths
from contract.config import Config, load_config
from contract.status import Progress
from trainer.sample import make_sample

WARM_UP_SECONDS = 20.0
BEFORE_SECONDS = 2.0
"""A half with a checkpoint begins this long before it."""
AGENT = """
import os, signal, sys
from bootstrap.agent import Agent
from bootstrap.metadata import Metadata
from bootstrap.state import Box
metadata = Metadata(os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"])
agent = Agent(Box.from_environment(os.environ), metadata, preparations=(), wait_after_notice_seconds=0)
signal.signal(signal.SIGTERM, agent.terminate)
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
    """Processor seconds."""
    beside: float
    """Processor seconds of the agent and of serving."""

    @property
    def processor_per_step(self) -> float:
        return (self.trainer + self.beside) / (self.steps_per_second * self.seconds)


def processor_seconds(process: int) -> float:
    """User and system time of a process so far (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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

    def used() -> tuple[float, float]:
        return processor_seconds(trainer), processor_seconds(agent.pid) + processor_seconds(server.pid)

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
    for (begin, (trainer_before, beside_before)), (end, (trainer_after, beside_after)) in pairwise(marks):
        halves.append(
            Half(watch.rate(begin, end), end - begin, trainer_after - trainer_before, beside_after - beside_before)
        )
    return halves[1:-1:2], halves[::2]


def saving_seconds(paths: BoxPaths, data: Path, config: Config) -> float:
    """What one checkpoint takes in the trainer: copied to host memory, written and flushed, one after the other."""
    from trainer.checkpoint import Checkpoint, Origin, write_checkpoint
    from trainer.dataset import load_dataset
    from trainer.learner import Learner
    from trainer.state import State

    dataset = load_dataset(data)
    learner = Learner(config.trainer, len(dataset.labels))
    taken = []
    for step in range(11):
        began = time.perf_counter()
        best = learner.weights()
        origin = Origin.of(dataset, config.trainer)
        write_checkpoint(paths.output / "saving", Checkpoint(origin, State(step=step), learner.state(), best))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval", type=float, default=30, help="seconds between two checkpoints")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--json", type=Path, default=Path("results/checkpoint_overhead.json"))
    options = parser.parse_args()
    config = load_config(
        None,
        {"epochs": "100000", "patience": "100000", "checkpoint_seconds": str(2 * options.interval), "run": "bench"},
    )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "sample")
        make_sample(data)
        paths = make_box(Path(folder, "box"), data, config)
        server = subprocess.Popen([sys.executable, "-c", AWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin and server.stdout
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
        finally:
            agent.send_signal(signal.SIGCONT)
            agent.terminate()
            agent.wait(120)
            server.stdin.close()
            server.wait()
        saving = saving_seconds(paths, data, config)
    beside = [half.beside / half.seconds for half in ours]
    result = {
        "work_beside_training": {
            "ratio": round(1 + statistics.median(beside) + saving / options.interval, 4),
            "agent_and_serving_per_second": [round(share, 4) for share in beside],
            "saving_seconds": round(saving, 3),
        },
        "interval_seconds": options.interval,
        "steps_per_second": compare([half.steps_per_second for half in ours], [h.steps_per_second for h in without]),
        "processor_per_step": compare([h.processor_per_step for h in ours], [h.processor_per_step for h in without]),
        "processors": os.cpu_count(),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def compare(ours: list[float], without: list[float]) -> dict[str, object]:
    """Each of ours over the mean of its neighbours; the median with its 95 % interval by bootstrap (Efron 1979)."""
    ratios = [2 * rate / (without[number] + without[number + 1]) for number, rate in enumerate(ours)]
    draws = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return {
        "median_ratio": round(statistics.median(ratios), 4),
        "interval_95": [round(float(low), 4), round(float(high), 4)],
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


if __name__ == "__main__":
    main()
