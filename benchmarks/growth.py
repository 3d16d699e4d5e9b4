"""Does a long run cost its box more than a short one? Runs of 100, 1,000 and 10,000 checkpoints, beside one another.

    python -m benchmarks.growth --pairs 5

Such a run has as many log chunks and events in its bucket, its kept checkpoints among them, a trainer at step 100 per
checkpoint, and a trainer's log of 100 lines for each. Measured is what a box does there: it takes over and restores,
syncs one new checkpoint (each a process of its own), and lives from one checkpoint of a stand-in trainer, which saves
every five seconds, to the next: requests and processor time an hour, and the agent's memory. The trainer's own share,
its history, is written, too. How it does with 100,000 sequences is measured by `training`: the box never looks at them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import psutil

from benchmarks.life import Life
from benchmarks.pairs import arguments
from benchmarks.peers import make_box, measure
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.s3_server import BUCKET, NAME, NoServer, S3Server, s3_server
from benchmarks.table import show
from bootstrap.state import State
from contract.box import BoxPaths
from contract.config import Config, load_config
from contract.layout import RunLayout

SIZES = (100, 1_000, 10_000)
STEPS_EACH = 100
LINE = b"step 123456: loss 0.1234 accuracy 0.9876, 45.6 steps a second, train epoch 1234\n"
FLAT = Aim(number=1.25)
RESTORE = """
import os
from bootstrap.metadata import Metadata
from bootstrap.state import Box
from bootstrap.takeover import restore, take_over
box = Box.from_environment(os.environ)
take_over(box, Metadata("http://127.0.0.1:9"), box.store.read_status())
assert restore(box, print), "nothing was restored"
"""
SAVER = """
import json, os, signal, sys, time
from pathlib import Path
checkpoints, output = Path(os.environ["SM_CHECKPOINT_DIR"]), Path(os.environ["SM_OUTPUT_DIR"])
step = int(sys.argv[1])
while True:
    step += 100
    (checkpoints / ".new").write_bytes(os.urandom(500_000))
    (checkpoints / ".new").replace(checkpoints / "step.ckpt")
    (output / ".new").write_text(json.dumps({"step": step, "steps": 10 ** 9}))
    (output / ".new").replace(output / "progress.json")
    print("step", step, flush=True)
    time.sleep(5)
"""

Values = dict[str, dict[int, list[float]]]
"""By measure, then by the run's size."""
UNITS = {"time": "s", "processor": "s", "peak memory": "MiB", "requests": "requests"}


def grow(server: S3Server, folder: Path, size: int) -> str:
    """A run of so many checkpoints, and its name."""
    run = f"run-{size}"
    layout = RunLayout(run)
    chunks = [layout.log_chunk("i-before", "trainer", number * len(LINE)) for number in range(size)]
    events = [layout.event(f"2026{number:08d}", "00000000") for number in range(size)]
    for content, (key, *others) in ((LINE, chunks), (b"{}", events)):
        server.client().put_object(Bucket=BUCKET, Key=key, Body=content)
        server.repeat(key, others)
    files = folder / f"files-{size}"
    files.mkdir()
    for number in range(3):
        (files / "step.ckpt").write_bytes(bytes([number]) * 500_000)
        box = folder / f"before-{size}-{number}"
        measure(server, [sys.executable, "-m", "bootstrap.sync"], make_box(server, box, run, files))
        shutil.rmtree(box)
    return run


def take_over_and_sync(server: S3Server, folder: Path, size: int, run: str, values: Values) -> None:
    root = folder / "box"
    files = folder / "restored"
    files.mkdir()
    env = make_box(server, root, run, files)
    paths = BoxPaths(root)
    (paths.state / "state.json").unlink()
    restored = measure(server, [sys.executable, "-c", RESTORE], env)
    with (paths.logs / "trainer.log").open("wb") as log:
        log.write(LINE * STEPS_EACH * size)
    paths.progress.write_text(f'{{"step": {STEPS_EACH * size}, "steps": 1000000000}}')
    state = State.model_validate_json((paths.state / "state.json").read_text())
    written = (paths.logs / "trainer.log").stat().st_size
    state = state.model_copy(update={"trainer_log_bytes": written - len(LINE)})
    (paths.state / "state.json").write_text(state.model_dump_json())
    (files / "step.ckpt").write_bytes(bytes(500_000))
    synced = measure(server, [sys.executable, "-m", "bootstrap.sync"], env)
    for what, one in (("restore", restored), ("sync", synced)):
        values[f"{what}: time"][size].append(round(one.cost.seconds, 3))
        values[f"{what}: processor"][size].append(round(one.cost.cpu_seconds, 3))
        values[f"{what}: peak memory"][size].append(round(one.cost.peak_mib, 1))
        values[f"{what}: requests"][size].append(one.requests)
    shutil.rmtree(root)
    shutil.rmtree(files)


def live(server: S3Server, folder: Path, size: int, run: str, values: Values) -> None:
    """An agent, from one new checkpoint to the next: each time it has done the same."""
    plain = load_config(None, {"run": run})
    command = ("python", "-c", SAVER, str(STEPS_EACH * size))
    config = Config.model_validate(plain.model_dump() | {"trainer": {"command": command}})
    (folder / "nothing").mkdir(exist_ok=True)
    with Life(server, Path(tempfile.mkdtemp(prefix="i-", dir=folder)), folder / "nothing", config) as life:
        at = life.wait("a checkpoint", partial(trained, life, STEPS_EACH * (size + 2)))
        before, used = server.traffic(), on_processor_seconds(life.process_id)
        end = life.wait("a checkpoint", partial(trained, life, STEPS_EACH * (size + 3)))
        hours = (end - at) / 3600
        values["agent: requests an hour"][size].append(round(server.traffic().since(before).requests / hours))
        values["agent: processor an hour"][size].append(
            round((on_processor_seconds(life.process_id) - used) / hours, 1)
        )
        memory = psutil.Process(life.process_id).memory_info().rss
        values["agent: memory"][size].append(round(memory / 2**20, 1))


def trained(life: Life, steps: int) -> bool:
    return life.progress() >= steps


def on_processor_seconds(process: int) -> float:
    """Of all threads that it has, to the nanosecond; `stat` counts in hundredths, a tenth of what is looked for.

    https://docs.kernel.org/scheduler/sched-stats.html (/proc/<pid>/schedstat)
    """
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def write_history(size: int, values: Values) -> None:
    """The trainer's state after so many checkpoints, with an epoch for each."""
    from trainer.state import EpochRow
    from trainer.state import State as Training

    row = EpochRow(train_epoch=1, step=STEPS_EACH, loss=0.1, accuracy=0.9, val_loss=0.2, val_accuracy=0.8)
    began = time.perf_counter()
    written = len(Training(step=STEPS_EACH * size, history=[row] * size).model_dump_json())
    values["trainer: time to write its history"][size].append(round(time.perf_counter() - began, 5))
    values["trainer: its history"][size].append(written / 1e6)


def rows(values: Values) -> list[Row]:
    made = []
    for measure_name, by_size in values.items():
        unit = UNITS.get(measure_name.partition(": ")[2], "")
        unit = unit or {"agent: requests an hour": "requests", "agent: memory": "MiB"}.get(measure_name, "s")
        unit = "MB" if measure_name == "trainer: its history" else unit
        for size in SIZES[1:]:
            made.append(
                Row(
                    measure=f"{measure_name}, {size:,} checkpoints",
                    unit=unit,
                    ours=tuple(by_size[size]),
                    theirs=tuple(by_size[SIZES[0]]),
                    against=f"itself at {SIZES[0]}",
                    aim=None if measure_name.startswith("trainer") else FLAT,
                )
            )
    return made


def main() -> None:
    parser = arguments("growth", __doc__, number=3)
    options = parser.parse_args()
    values: Values = defaultdict(lambda: defaultdict(list))
    what = "What a box uses of processor, memory, requests and time in runs of 100 to 10,000 checkpoints"
    how = f"up to {SIZES[-1] * STEPS_EACH:,} training steps; {NAME} on this machine; sizes in turn"
    baselines = (Baseline(name=f"itself at {SIZES[0]}"),)
    try:
        with tempfile.TemporaryDirectory() as name, s3_server() as server:
            folder = Path(name)
            runs = {size: grow(server, folder, size) for size in SIZES}
            for turn in range(options.pairs):
                for size in SIZES if turn % 2 == 0 else reversed(SIZES):
                    take_over_and_sync(server, folder, size, runs[size], values)
                    write_history(size, values)
                    live(server, folder, size, runs[size], values)
    except NoServer as error:
        result = Result(name="growth", what=what, how=how, baselines=baselines, skipped=str(error))
    else:
        result = Result(name="growth", what=what, how=how, baselines=baselines, rows=tuple(rows(values)))
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
