"""What checkpoints and sync cost the training. `python benchmarks/checkpoint_overhead.py --interval 30 --pairs 5`

The baseline is the same trainer alone, which writes no checkpoint. Beside it, in pairs, in turn: the trainer under the
real agent, with a checkpoint every `--interval` seconds, each uploaded, verified and synced to an S3 server on this
machine (moto, a process of its own, which shares the processor: the cost of serving is counted as ours).
Enters: seconds and pairs. Leaves: steps a second of each, the ratio, as text and JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bootstrap.workload import contract_environment
from contract.box import BoxPaths
from contract.config import Config, load_config
from contract.status import Progress
from rehearsal.imds import Identity, Imds
from trainer.sample import make_sample

WARM_UP_STEPS = 100
STEPS_PER_EPOCH = 24
AGENT = """
import os, sys
from bootstrap.agent import Agent
from bootstrap.metadata import Metadata
from bootstrap.state import Box
metadata = Metadata(os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"])
sys.exit(Agent(Box.from_environment(os.environ), metadata, preparations=()).run())
"""
AWS = """
import json, sys
from rehearsal.aws import EmulatedAws
with EmulatedAws() as aws:
    aws.client("s3").create_bucket(Bucket="bucket")
    print(json.dumps(aws.environment()), flush=True)
    sys.stdin.read()
"""


def steps_per_second(paths: BoxPaths, process: subprocess.Popen[bytes]) -> float:
    """From the end of the warm-up to the end of the training, while the trainer runs."""
    began: tuple[float, int] | None = None
    last = (0.0, 0)
    while process.poll() is None:
        time.sleep(0.02)
        try:
            progress = Progress.model_validate_json(paths.progress.read_bytes())
        except (OSError, ValueError):
            continue
        if progress.step != last[1]:
            last = (time.monotonic(), progress.step)
        if began is None and progress.step >= WARM_UP_STEPS:
            began = last
    if began is None or process.returncode:
        logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(paths.logs.iterdir()))
        sys.exit(f"the trainer ended with {process.returncode}:\n{logs}")
    return (last[1] - began[1]) / (last[0] - began[0])


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


def alone(root: Path, data: Path, config: Config) -> float:
    paths = make_box(root, data, config)
    environment = {**os.environ, **contract_environment(paths, config)}
    with (paths.logs / "trainer.log").open("wb") as log:
        command = [sys.executable, "-m", "trainer.train"]
        return steps_per_second(paths, subprocess.Popen(command, env=environment, stdout=log, stderr=log))


def with_agent(root: Path, data: Path, config: Config, aws: dict[str, str]) -> float:
    paths = make_box(root, data, config)
    identity = Identity("i-bench", "g4dn.xlarge", "us-east-1", "us-east-1a", "", "123456789012", "ami-1")
    imds = Imds(identity, dict)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **aws,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
        **{"RUN": root.name, "BUCKET": "bucket", "DATA": "", "INSTANCE_ID": "i-bench", "SIGNSPOT_ROOT": str(root)},
    }
    try:
        with (paths.logs / "boot.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-c", AGENT], env=environment, stdout=log, stderr=log)
            return steps_per_second(paths, process)
    finally:
        imds.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval", type=float, default=30, help="seconds between two checkpoints")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps of each training")
    parser.add_argument("--json", type=Path, default=Path("results/checkpoint_overhead.json"))
    options = parser.parse_args()
    epochs = str(options.steps // STEPS_PER_EPOCH)
    settings = {"epochs": epochs, "patience": epochs, "checkpoint_seconds": str(options.interval)}
    ours = load_config(None, {**settings, "run": "bench"})
    none = load_config(None, {**settings, "checkpoint_seconds": "3600"})
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "sample")
        make_sample(data)
        server = subprocess.Popen([sys.executable, "-c", AWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin and server.stdout
        aws = json.loads(server.stdout.readline())
        for pair in range(options.pairs):
            baseline = alone(Path(folder, f"alone{pair}"), data, none)
            measured = with_agent(Path(folder, f"agent{pair}"), data, ours, aws)
            ratios.append(measured / baseline)
            print(f"alone {baseline:.1f} steps/s, with agent {measured:.1f}: ratio {ratios[-1]:.4f}", flush=True)
        server.stdin.close()
        server.wait()
    result = {
        "interval_seconds": options.interval,
        "pairs": options.pairs,
        "ratios": [round(ratio, 4) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 4),
        "overhead_percent": round(100 * (1 / statistics.median(ratios) - 1), 2),
        "processors": os.cpu_count(),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
