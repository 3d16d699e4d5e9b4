"""What training costs. `python -m benchmarks.training --pairs 7 --memory 1000 100000`

First speed: our training loop (from files to weights, progress written, no checkpoint) against the plain script: NumPy
arrays padded to the longest, Masking, `model.fit`. Once with 2×GRU(128) as most guides have it, once with the network
of our defaults on both sides. Equal settings, equal clips of 10 to 60 frames, 32 a batch, no variations. Each in a
process of its own, for ours switches TensorFlow to deterministic kernels; in turn, an epoch each, in pairs, so that a
busy machine is busy for both. Then memory: the peak of the process that loads a dataset and trains some hundred steps
from it as `signspot train` does, for datasets of very different size.
Enters: how many pairs, which sizes. Leaves: sequences a second and MiB, ours and theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.pairs import arguments
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.table import show
from contract.config import TrainerConfig
from contract.status import Progress
from trainer.dataset import load_dataset
from trainer.loop import Loop
from trainer.normalise import CHANNELS, normalise
from trainer.state import EpochRow
from trainer.stop import Stopped
from trainer.train import ProgressFile

HOME = Path(__file__).resolve().parent.parent
WORDS = 14
FRAMES = (10, 60)
SEQUENCES = 512
"""In an epoch of the comparison."""
WARM_UP = 2
"""Epochs that are not counted."""
STEPS = 300
"""Of training, when memory is measured."""
EQUAL = {
    **{"batch_size": 32, "augment": False, "label_smoothing": 0, "clip_norm": 0, "class_weights": "none"},
    **{"schedule": "constant", "warmup_epochs": 0, "epochs": 1000, "patience": 1000},
}
"""What the plain script can do, too."""
PLAIN = {
    **{"layers": 2, "units": 128, "convolutions": 0, "bidirectional": False, "pooling": "last"},
    **{"dropout": 0, "weight_decay": 0},
}
CONFIGS = {
    "2 x GRU(128)": TrainerConfig.model_validate(EQUAL | PLAIN),
    "the defaults": TrainerConfig.model_validate(EQUAL),
}


def clip(number: int) -> np.ndarray:
    """Keypoints (frames, 2, 21, 3) of two hands that wander about."""
    random = np.random.default_rng(number)
    frames = int(random.integers(FRAMES[0], FRAMES[1] + 1))
    hands = random.normal(0, 0.1, (1, 2, 21, 3)) + random.normal(0, 0.01, (frames, 2, 1, 3)).cumsum(axis=0)
    wandering: np.ndarray = (0.5 + hands).astype(np.float16)
    return wandering


def write_dataset(folder: Path, sequences: int) -> None:
    """A folder of 1,000 files each, so that none is crowded."""
    rows = ["path,label,split"]
    for number in range(sequences):
        name = f"{number // 1000:03}/{number:06}.npy"
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, clip(number))
        rows.append(f"{name},word{number % WORDS:02},train")
    (folder / "dataset.csv").write_text("\n".join(rows) + "\n")


def take_turns(epoch: Callable[[], None]) -> None:
    """An epoch for each line that comes in; its seconds, and those of the processor's cores, go out."""
    for _ in sys.stdin:
        began = now()
        epoch()
        print(*(now() - began), flush=True)


def now() -> np.ndarray:
    """Seconds on the wall, and of this process on all cores."""
    return np.array([time.monotonic(), time.process_time()])


def our_loop(folder: Path, config: TrainerConfig, watch: Callable[[Progress], None] = lambda _: None) -> Loop:
    from trainer.learner import Learner

    dataset = load_dataset(folder, scratch=folder, augmented=config.augment)
    progress = ProgressFile(folder / "progress.json")

    def report(now: Progress) -> None:
        progress.write(now)
        watch(now)

    return Loop(
        Learner(config, len(dataset.labels)),
        dataset,
        config,
        save=lambda _: None,
        report=report,
        check_stop=lambda: None,
        checkpoint_seconds=1e9,
    )


def ours(folder: Path, config: TrainerConfig) -> None:
    turns, began, answers = iter(sys.stdin), [now()], os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the loop says is no answer

    def wait() -> None:
        if next(turns, None) is None:
            sys.exit()
        began[0] = now()

    def epoch_done(_row: EpochRow, _steps_per_second: float) -> None:
        print(*(now() - began[0]), file=answers, flush=True)
        wait()

    loop = our_loop(folder, config)
    loop.epoch_done = epoch_done
    wait()
    loop.run()


def plain(folder: Path, config: TrainerConfig) -> None:
    import keras

    from trainer.model import build_model

    lines = (folder / "dataset.csv").read_text().splitlines()[1:]
    sequences = [normalise(np.load(folder / line.split(",")[0]).astype(np.float32)) for line in lines]
    features = np.zeros((len(sequences), max(map(len, sequences)), CHANNELS), np.float32)
    for row, sequence in zip(features, sequences, strict=True):
        row[: len(sequence)] = sequence
    targets = np.array([int(line.split(",")[1].removeprefix("word")) for line in lines])
    if config.convolutions:
        model, optimizer = build_model(config, WORDS), keras.optimizers.AdamW
    else:
        layers = [keras.layers.GRU(config.units, return_sequences=not last) for last in (False, True)]
        layers = [keras.layers.Masking(0.0), *layers, keras.layers.Dense(WORDS, activation="softmax")]
        model, optimizer = keras.Sequential([keras.Input((None, CHANNELS)), *layers]), keras.optimizers.Adam
    model.compile(optimizer(config.learning_rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    take_turns(lambda: model.fit(features, targets, batch_size=config.batch_size, epochs=1, verbose=0))


def memory(folder: Path, config: TrainerConfig) -> None:
    """Prints the peak in MiB after loading, and after `STEPS` steps."""

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def watch(progress: Progress) -> None:
        if progress.step >= STEPS:
            raise Stopped

    loop = our_loop(folder, config, watch)
    loaded = peak()
    try:
        loop.run()
    except Stopped:
        print(json.dumps([loaded, peak()]))


ROLES: dict[str, Callable[[Path, TrainerConfig], None]] = {"ours": ours, "plain": plain, "memory": memory}


def start(role: str, folder: Path, config: TrainerConfig) -> subprocess.Popen[str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "benchmarks.training", "--play", role, str(folder), config.model_dump_json()]
    return subprocess.Popen(
        command, cwd=HOME, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )


def turn(process: subprocess.Popen[str]) -> np.ndarray:
    """Sequences a second in one more epoch, and a second of processor."""
    assert process.stdin and process.stdout
    print(file=process.stdin, flush=True)
    return SEQUENCES / np.array(process.stdout.readline().split(), float)


def compare(pairs: int, name: str, config: TrainerConfig) -> tuple[Row, Row]:
    """Sequences a second, and a second of processor: the plain script's over ours is what one of them takes."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_dataset(folder, SEQUENCES)
        with start("ours", folder, config) as our_process, start("plain", folder, config) as plain_process:
            for _ in range(WARM_UP):
                turn(our_process)
                turn(plain_process)
            for _ in range(pairs):
                found.append((turn(our_process), turn(plain_process)))
                print(f"{name}: {found[-1][0][0] / found[-1][1][0]:.2f}", file=sys.stderr, flush=True)
            for process in (our_process, plain_process):
                assert process.stdin
                process.stdin.close()
    ours, plain = (np.array(side).T.tolist() for side in zip(*found, strict=True))
    aim = Aim(number=1.5, direction="at least") if name == "2 x GRU(128)" else None
    return (
        Row(measure=f"{name}, by the clock", unit="sequences/s", ours=ours[0], theirs=plain[0], aim=aim),
        Row(measure=f"{name}, by processor time", unit="sequences/s", ours=ours[1], theirs=plain[1]),
    )


def peaks(sequences: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), sequences)
        process = start("memory", Path(folder), TrainerConfig(epochs=1000, patience=1000))
        loaded, trained = json.loads(process.communicate()[0].splitlines()[-1])
    print(f"{sequences:,} sequences: peak {loaded:.0f} MiB, {trained:.0f} MiB", file=sys.stderr, flush=True)
    return [
        Row(measure=f"peak memory, {sequences:,} sequences loaded", unit="MiB", ours=(loaded,)),
        Row(measure=f"peak memory, and {STEPS} steps trained", unit="MiB", ours=(trained,)),
    ]


def main() -> None:
    parser = arguments("training", __doc__, 7)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 10_000], help="sequences; nothing: no memory")
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        role, folder, config = options.play
        ROLES[role](Path(folder), TrainerConfig.model_validate_json(config))
        return
    rows = [row for name, config in CONFIGS.items() if options.pairs for row in compare(options.pairs, name, config)]
    result = Result(
        name="training",
        what=f"Sequences trained in a second{', and the memory that it takes' if options.memory else ''}.",
        how=f"{SEQUENCES} clips of {FRAMES[0]} to {FRAMES[1]} frames, 32 a batch, equal settings, no variations, an "
        f"epoch each in turn{'; memory with all of the default settings' if options.memory else ''}.",
        baselines=(
            Baseline(name="the plain script: arrays padded to the longest, model.fit", version=version("keras")),
        ),
        rows=(*rows, *(row for sequences in options.memory for row in peaks(sequences))),
    )
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
