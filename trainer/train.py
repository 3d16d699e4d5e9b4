"""Train. Enters: the environment of SageMaker's training contract. Leaves: a model folder, or a checkpoint.

    python -m trainer.train [--overfit]

Exit codes: 0 done; 75 (`EXIT_SAVED`) after SIGTERM or Ctrl-C, when everything so far is saved and the
same command goes on from there; anything else is a failure, with its reason in `SM_OUTPUT_DIR/failure`.
`SM_OUTPUT_DIR/progress.json` follows every optimiser step, `SM_OUTPUT_DIR/tensorboard` every epoch.
With --overfit nothing is saved: 0 when one batch can be learnt by heart, 1 when it cannot.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from contract.box import EXIT_DONE, EXIT_SAVED, INTERVAL_FILE
from contract.errors import DataError, SignspotError, TrainerError
from contract.status import Progress
from trainer.atomic import replacing
from trainer.checkpoint import Origin, Writer, check_origin, newest_checkpoint
from trainer.dataset import Dataset, load_dataset
from trainer.export import export
from trainer.imports import quick_imports
from trainer.loop import Loop
from trainer.overfit import one_batch, overfit, plain
from trainer.say import say
from trainer.schedule import learning_rate
from trainer.settings import Directories, Settings
from trainer.state import State
from trainer.stop import Stopped, StopRequest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.train", description="Train a model that recognises words.")
    parser.add_argument("--overfit", action="store_true", help="only try whether one batch can be learnt by heart")
    options = parser.parse_args(arguments)
    stop = StopRequest()
    stop.listen()
    directories = Directories.from_environment(os.environ)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        settings = Settings.from_json(os.environ.get("SM_HPS", ""))
        if options.overfit:
            return EXIT_DONE if try_overfit(directories, settings, stop) else 1
        train(directories, settings, stop, devices=None)
    except Stopped:
        return EXIT_SAVED
    except SignspotError as error:
        return _fail(directories.output, str(error), error.exit_code)
    except Exception:
        return _fail(directories.output, traceback.format_exc(), TrainerError.exit_code)
    return EXIT_DONE


def train(
    directories: Directories,
    settings: Settings,
    stop: StopRequest,
    told: Callable[[State], None] = lambda _: None,
    *,
    devices: Sequence[str] | None = (),
) -> None:
    """Train from the newest checkpoint, or from the start, to the exported model.

    `told` hears where training stands, after each step and each epoch; it changes nothing in it. `devices` share each
    batch, None: all GPUs that there are; with fewer than two of them TensorFlow chooses one.

    Raises:
        Stopped: SIGTERM came; what was done is saved.
        SignspotError: settings, dataset or checkpoint are unusable, or training diverged.
    """
    for directory in (directories.output, directories.checkpoints, directories.model):
        check_writable(directory)
    (directories.output / "failure").unlink(missing_ok=True)
    dataset = _load(directories, settings, stop, augmented=settings.trainer.augment)
    checkpoint = newest_checkpoint(directories.checkpoints)
    if checkpoint is not None:
        check_origin(checkpoint, Origin.of(dataset, settings.trainer))

    with quick_imports():
        from trainer.mirrored import make_learner  # TensorFlow takes seconds: whatever is refused is refused before
        from trainer.tensorboard import Scalars

    writer, progress_file = Writer(directories.checkpoints), ProgressFile(directories.output / "progress.json")

    def report(progress: Progress) -> None:
        progress_file.write(progress)
        told(loop.state)

    loop = Loop(
        make_learner(settings.trainer, len(dataset.labels), devices),
        dataset,
        settings.trainer,
        save=writer.write,
        report=report,
        check_stop=stop.check,
        checkpoint_seconds=settings.checkpoint_seconds,
        checkpoint_steps=settings.checkpoint_steps,
        asked_seconds=lambda: asked_seconds(directories.output / INTERVAL_FILE),
    )
    if checkpoint is not None:
        loop.resume(checkpoint)
        say(f"resumed at step {loop.state.step} (epoch {loop.state.train_epoch + 1})")
    rate = partial(learning_rate, settings.trainer, steps_per_epoch=loop.steps_per_epoch)
    loop.epoch_done = Scalars(directories.output / "tensorboard", loop.state.history, rate).write
    try:
        loop.run()
    except Stopped:
        loop.save()
        writer.close()
        say(f"saved at step {loop.state.step}: start me again to go on")
        raise
    finally:
        writer.close()
    metrics = export(loop, directories.model)
    say(f"done: test_accuracy {metrics['test_accuracy']} in {directories.model}")


def try_overfit(directories: Directories, settings: Settings, stop: StopRequest) -> bool:
    """Whether one batch of the dataset can be learnt by heart; saves nothing.

    Raises:
        Stopped: SIGTERM or Ctrl-C came.
        SignspotError: settings or dataset are unusable.
    """
    dataset, config = _load(directories, settings, stop), plain(settings.trainer)

    with quick_imports():
        from trainer.learner import Learner

    return overfit(Learner(config, len(dataset.labels)), one_batch(dataset, config), config, stop.check)


def check_writable(directory: Path) -> None:
    """Refuse at once what would fail when the work is done.

    Raises:
        DataError: no file can be made in the directory, or it cannot be made itself.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as refusal:
        why = refusal.strerror or str(refusal)
        raise DataError(f"{directory} cannot be written", why=why, mend="free it, or name another folder") from None


def _load(directories: Directories, settings: Settings, stop: StopRequest, *, augmented: bool = False) -> Dataset:
    """The dataset, and in the log what is in it. Its temporary files are in SM_OUTPUT_DIR where there is one."""
    scratch = directories.output if directories.output.is_dir() else None
    dataset = load_dataset(
        directories.dataset, settings.table, augmented=augmented, scratch=scratch, check_stop=stop.check
    )
    parts = ", ".join(f"{len(getattr(dataset, name))} {name}" for name in ("train", "val", "test"))
    say(f"{len(dataset.labels)} words; sequences: {parts}")
    for line in dataset.notes:
        say(line)
    return dataset


def asked_seconds(path: Path) -> float | None:
    """What the one who started us now wants between two checkpoints; None: nothing else than before."""
    try:
        seconds = float(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None


class ProgressFile:
    """`progress.json`, replaced after every step; not flushed to the disk, because the next step replaces it.

    One that cannot be written is left out for the same reason.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, progress: Progress) -> None:
        with suppress(OSError), replacing(self._path, durable=False) as temporary:
            temporary.write_text(progress.model_dump_json(), encoding="utf-8")


def _fail(output: Path, reason: str, exit_code: int) -> int:
    print(reason, file=sys.stderr, flush=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with replacing(output / "failure") as temporary:
            temporary.write_text(reason + "\n", encoding="utf-8")
    except OSError as error:
        print(f"{output / 'failure'} cannot be written: {error}", file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)  # all is saved and closed; TensorFlow would take seconds of a notice to tidy up
