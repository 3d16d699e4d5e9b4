"""Killed without notice: seconds from the next machine's start to the first step that was never done before.

    python -m benchmarks.recovery --pairs 5

Ours is the real agent: the checkpoint is committed when it appears, and the next box takes the run over, restores what
verifies, and starts the trainer. Theirs is what terraform-provider-iterative's `iterative_task` does, scripted: the
working directory is mirrored to S3 every 10 s (`rclone`, which it uses itself, else `aws s3 sync`), the next machine
copies it back, starts the same trainer, and that takes the newest file. Each side is one run that is killed several
times, agent, mirror and trainer at once (SIGKILL), at the same moments after a step; every life is a new folder.

Packages are there on both sides (see the benchmark `start`). That a machine is gone is for the Auto Scaling group to
notice, on both sides, and no emulation can tell how long that takes: `detection` is what the aim leaves out.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from benchmarks.life import LOOK_SECONDS, PATIENCE_SECONDS, Life, kill_tree, step_of
from benchmarks.pairs import arguments
from benchmarks.peers import Peer, aws, environment, rclone
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.s3_server import NAME, NoServer, S3Server, s3_server
from benchmarks.table import show
from bootstrap.workload import contract_environment
from contract.box import BoxPaths
from contract.config import Config, load_config
from trainer.sample import make_sample

CHECKPOINT_SECONDS = 5
MIRROR_SECONDS = 10
TRAINS_SECONDS = 11.0
"""From the first new step to the next kill, and a little more each time, so that kills come at different points."""
LATER_BY_SECONDS = 0.9
LIMIT = (
    "The least (*limit*) is the quicker start of a life's two, TensorFlow's import and the first compiled step "
    "whoever starts the trainer, and the training since its last file, which nobody could have saved."
)


def mirror() -> Peer:
    """What copies the working directory."""
    return next((peer for peer in (rclone(), aws()) if not peer.baseline.missing), aws())


class Mirrored:
    """A life of the other kind: the trainer, and a loop that mirrors its folder."""

    def __init__(self, server: S3Server, root: Path, data: Path, config: Config, peer: Peer) -> None:
        self.paths = BoxPaths(root)
        for directory in (self.paths.checkpoints, self.paths.model, self.paths.output):
            directory.mkdir(parents=True)
        work = root / "opt/ml"
        down, up = (shlex.join(command) for command in (peer.download("work", work), peer.upload(work, "work")))
        trainer = shlex.join([sys.executable, "-m", "trainer.train"])
        self._log = root / "log"
        self._script = f"{down}\n(while sleep {MIRROR_SECONDS}; do {up}; done) &\nexec {trainer}"
        contract = contract_environment(self.paths, config) | {"SM_CHANNEL_TRAINING": str(data)}
        self._environment = environment(server) | contract

    def __enter__(self) -> Mirrored:
        self.began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", self._script], env=self._environment, stdout=log, stderr=log
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        kill_tree(self._process)

    def wait(self, what: str, holds: Callable[[], bool]) -> float:
        """As of the other kind."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{what}: it never came\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic()


class Run:
    """One run of either kind, life after life."""

    def __init__(self, life: Callable[[int], Life | Mirrored]) -> None:
        self._life = life
        self._lives = 0
        self._reached = 0
        self.first: list[float] = []
        """From each start but the first to its first step, new or not."""
        self.seconds: list[float] = []
        """From each start but the first to the first step never done before."""
        self.repeated: list[float] = []
        """Seconds of training done twice, at the pace of the life that did them again."""
        self.unsaved: list[float] = []
        """Those of them that no file held at the kill: the trainer had written none since."""
        self._saved = 0

    def live(self) -> None:
        """One life, from its start to its kill."""
        began = time.time()
        with self._life(self._lives) as life:

            def step() -> int:
                """As this life's trainer said: a mirror brings back the word of the one before."""
                try:
                    return step_of(life.paths.progress) if life.paths.progress.stat().st_mtime > began else -1
                except FileNotFoundError:
                    return -1

            life.wait("the trainer starts", lambda: step() >= 0)
            restored = step()
            first = life.wait("a first step", lambda: step() > restored)
            new = life.wait("a new step", lambda: step() > self._reached)
            if self._lives:
                self.first.append(round(first - life.began, 2))
                self.seconds.append(round(new - life.began, 2))
                again, lost = self._reached - restored, self._reached - self._saved
                self.repeated.append(round(new - first if again > 0 else 0.0, 2))
                self.unsaved.append(round(self.repeated[-1] * min(1.0, lost / again) if again > 0 else 0.0, 2))
            time.sleep(TRAINS_SECONDS + LATER_BY_SECONDS * self._lives)
            life.kill()
            self._reached = max(self._reached, step())
            self._saved = max(self._saved, newest_step(life.paths.checkpoints))
        self._lives += 1


def newest_step(checkpoints: Path) -> int:
    """Of the newest whole checkpoint in a folder."""
    return max((int(path.stem.partition("-")[2]) for path in checkpoints.glob("step-*.ckpt")), default=0)


def least(ours: Run, theirs: Run) -> tuple[float, ...]:
    """The quicker start of a life's two, and the training that no file held: whoever restarts this trainer needs it."""
    starts = map(min, zip(ours.first, theirs.first, strict=True))
    return tuple(round(start + lost, 2) for start, lost in zip(starts, ours.unsaved, strict=True))


def main() -> None:
    parser = arguments("recovery", __doc__, number=2)
    options = parser.parse_args()
    settings = {"epochs": "100000", "patience": "100000", "checkpoint_seconds": str(CHECKPOINT_SECONDS)}
    config = load_config(None, {"run": "recovery", **settings})
    peer = mirror()
    what = "Seconds from the next machine's start, after a kill without notice, to the first step never done before"
    how = f"the built-in trainer, a checkpoint every {CHECKPOINT_SECONDS} s, kills at the same moments; {NAME}"
    baseline = Baseline(
        name=f"mirror every {MIRROR_SECONDS} s", version=f"{peer.baseline.name}, {peer.baseline.version}"
    )
    try:
        with tempfile.TemporaryDirectory() as name, s3_server() as server:
            folder = Path(name)
            make_sample(folder / "sample")
            ours = Run(lambda life: Life(server, folder / f"i-{life}", folder / "sample", config))
            theirs = Run(lambda life: Mirrored(server, folder / f"m-{life}", folder / "sample", config, peer))
            for life in range(options.pairs + 1):
                turns = [ours] if baseline.missing else [ours, theirs]
                for run in turns if life % 2 == 0 else reversed(turns):
                    run.live()
                print(f"life {life + 1} of {options.pairs + 1}", file=sys.stderr, flush=True)
    except NoServer as error:
        result = Result(name="recovery", what=what, how=how, baselines=(baseline,), skipped=str(error))
    else:
        rows = (
            Row(
                measure="start to the first new step",
                unit="s",
                ours=tuple(ours.seconds),
                theirs=tuple(theirs.seconds),
                least=least(ours, theirs) if theirs.seconds else (),
                against=baseline.name,
                aim=Aim(number=0.5),
            ),
            Row(
                measure="start to the first step, new or not",
                unit="s",
                ours=tuple(ours.first),
                theirs=tuple(theirs.first),
                against=baseline.name,
            ),
            Row(
                measure="training done twice",
                unit="s",
                ours=tuple(ours.repeated),
                theirs=tuple(theirs.repeated),
                against=baseline.name,
                aim=Aim(number=CHECKPOINT_SECONDS, of="ours"),
            ),
        )
        result = Result(name="recovery", what=what, how=how, baselines=(baseline,), rows=rows, limit=LIMIT)
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
