"""What a cluster does. Enters: the settings. Leaves: a job for the driver (`bootstrap/driver.py`).

Both have a folder of many small files, which they save as one tar: every file would be a request with every checkpoint.
An extraction's are the keypoints; a sweep's are what Ray Tune knows of its trials, and the trials save themselves.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from pathlib import Path

from bootstrap.state import Box
from bootstrap.trial import TrialStore
from contract.errors import DataError, TrainerError
from contract.status import Progress

CLIPS = (".mp4", ".mov", ".avi", ".webm", ".mkv")
HAND_MODEL = "hand_landmarker.task"
EXIT_PARTIAL = 7
"""Of `signspot extract`: some clips could not be made, and are named."""
BOARD = ("leaderboard.json", "leaderboard.csv", "report.html")
TRIAL_COMMAND = "python -m bootstrap.trial"


def job_of(box: Box) -> Extraction | Sweep:
    return Sweep(box) if box.config.run.job == "sweep" else Extraction(box)


class Kept:
    """A folder that is saved as one tar, now and then."""

    def __init__(self, box: Box, folder: Path) -> None:
        self._box = box
        self._paths = box.paths
        self._python = str(box.paths.venv / "bin/python")
        self._folder = folder
        self._saved = self._progress()
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for archive in self._archives()[-1:]:
            with tarfile.open(archive) as saved:
                saved.extraction_filter = getattr(tarfile, "data_filter", None)  # since Python 3.11.4
                saved.extractall(self._folder)  # noqa: S202
        self._saved = self._progress()
        self._tell(self._saved)

    def save(self, *, due: bool) -> None:
        progress = self._progress()
        self._tell(progress)
        waited = time.monotonic() - self._saved_at
        if progress == self._saved or not (due or waited >= self._box.config.sync.checkpoint_seconds):
            return
        checkpoints = self._paths.checkpoints
        checkpoints.mkdir(parents=True, exist_ok=True)
        temporary, new = checkpoints / ".saving.tar", checkpoints / f"kept-{time.time_ns():020d}-{progress.step}.tar"
        with tarfile.open(temporary, "w") as archive:
            archive.add(self._folder, ".", filter=_whole)
        temporary.replace(new)
        for old in self._archives():
            if old != new:
                old.unlink()
        self._saved, self._saved_at = progress, time.monotonic()

    def _progress(self) -> Progress:
        raise NotImplementedError

    def _archives(self) -> list[Path]:
        return sorted(self._paths.checkpoints.glob("kept-*.tar"))

    def _tell(self, progress: Progress) -> None:
        self._paths.output.mkdir(parents=True, exist_ok=True)
        temporary = self._paths.progress.with_name(".progress")
        temporary.write_text(progress.model_dump_json())
        temporary.replace(self._paths.progress)


class Extraction(Kept):
    def __init__(self, box: Box) -> None:
        clips = box.paths.training.rglob("*")
        self._clips = sum(1 for path in clips if path.suffix.lower() in CLIPS)
        super().__init__(box, box.paths.keypoints)

    def command(self, address: str) -> list[str]:
        clips, model = self._paths.training, self._paths.training / HAND_MODEL
        given = ["--model", str(model)] if model.exists() else []  # else the head fetches it
        return [self._python, "-m", "trainer.extract", str(clips), "--to", str(self._folder), "--ray", address, *given]

    def finish(self, code: int) -> None:
        if code not in (0, EXIT_PARTIAL) or not self._progress().step:
            raise DataError(f"the extraction ended with exit code {code}", why="see the end of the head's log")
        shutil.copytree(self._folder, self._paths.model, dirs_exist_ok=True)

    def _progress(self) -> Progress:
        return Progress(step=sum(1 for _ in self._folder.rglob("*.npy")), steps=self._clips)


class Sweep(Kept):
    def __init__(self, box: Box) -> None:
        super().__init__(box, box.paths.sweep_state)

    def command(self, address: str) -> list[str]:
        sweep, data, out = self._paths.sweep, self._paths.training, self._folder
        command = [self._python, "-m", "trainer.sweep", str(sweep), str(data), "--out", str(out), "--ray", address]
        return [*command, "--trial-command", TRIAL_COMMAND]

    def finish(self, code: int) -> None:
        """The best model, and the leaderboard beside it."""
        finished = [row for row in self._rows() if row.get("state") == "finished"]
        if code or not finished:
            raise TrainerError(f"the sweep ended with exit code {code}", why="see the end of the head's log")
        store, run = self._box.store, self._box.config.run.name
        trial = TrialStore(store.s3, self._box.bucket, run, finished[0]["trial"])
        trial.fetch_model(self._paths.model)
        board = self._paths.model / "sweep"
        board.mkdir(exist_ok=True)
        for name in BOARD:
            shutil.copyfile(self._folder / name, board / name)

    def _rows(self) -> list[dict[str, str]]:
        """Best first; whose model is there before all others."""
        try:
            rows: list[dict[str, str]] = json.loads((self._folder / BOARD[0]).read_text())["trials"]
        except (OSError, ValueError, KeyError):
            return []
        return rows

    def _progress(self) -> Progress:
        """A step is one of any trial's; what is through counts as planned."""
        rows = self._rows()
        through = sum(1 for row in rows if row.get("state") not in ("waiting", "running"))
        steps = sum(int(row.get("step", 0)) for row in rows)
        return Progress(step=steps, train_epoch=through, train_epochs=len(rows), steps=0)


def _whole(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """No half-written file."""
    return None if Path(member.name).name.startswith(".") and member.name != "." else member
