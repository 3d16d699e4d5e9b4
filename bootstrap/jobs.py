"""What a cluster does. Enters: the settings. Leaves: a job for the driver (`bootstrap/driver.py`).

An extraction gives each clip to a worker and has the keypoints itself; it saves them as one tar, since thousands of
small files would be as many requests with every checkpoint.
"""

from __future__ import annotations

import shutil
import tarfile
import time
from pathlib import Path

from bootstrap.state import Box
from contract.errors import DataError
from contract.status import Progress

CLIPS = (".mp4", ".mov", ".avi", ".webm", ".mkv")
HAND_MODEL = "hand_landmarker.task"
EXIT_PARTIAL = 7
"""Of `signspot extract`: some clips could not be made, and are named."""


def job_of(box: Box) -> Extraction:
    return Extraction(box)


class Extraction:
    def __init__(self, box: Box) -> None:
        self._box = box
        self._paths = box.paths
        self._saved, self._saved_at = 0, time.monotonic()
        self._clips = sum(1 for path in self._paths.training.rglob("*") if path.suffix.lower() in CLIPS)

    def command(self, address: str) -> list[str]:
        python, clips, to = self._paths.venv / "bin/python", self._paths.training, self._paths.keypoints
        model = clips / HAND_MODEL  # where it is not among the clips, the head fetches it
        given = ["--model", str(model)] if model.exists() else []
        return [str(python), "-m", "trainer.extract", str(clips), "--to", str(to), "--ray", address, *given]

    def restore(self) -> None:
        self._paths.keypoints.mkdir(parents=True, exist_ok=True)
        for archive in self._archives()[-1:]:
            with tarfile.open(archive) as saved:
                saved.extractall(self._paths.keypoints, filter="data")
        self._saved = self._done()
        self._tell(self._saved)

    def save(self, *, due: bool) -> None:
        done = self._done()
        self._tell(done)
        waited = time.monotonic() - self._saved_at
        if done == self._saved or not (due or waited >= self._box.config.sync.checkpoint_seconds):
            return
        checkpoints = self._paths.checkpoints
        temporary = checkpoints / ".keypoints.tar"
        with tarfile.open(temporary, "w") as archive:
            archive.add(self._paths.keypoints, ".", filter=_whole)
        new = checkpoints / f"keypoints-{done:08d}.tar"
        temporary.replace(new)
        for old in self._archives():
            if old != new:
                old.unlink()
        self._saved, self._saved_at = done, time.monotonic()

    def finish(self, code: int) -> None:
        if code not in (0, EXIT_PARTIAL) or not self._done():
            raise DataError(f"the extraction ended with exit code {code}", why="see the end of the head's log")
        shutil.copytree(self._paths.keypoints, self._paths.model, dirs_exist_ok=True)

    def _archives(self) -> list[Path]:
        return sorted(self._paths.checkpoints.glob("keypoints-*.tar"))

    def _done(self) -> int:
        return sum(1 for _ in self._paths.keypoints.rglob("*.npy"))

    def _tell(self, done: int) -> None:
        self._paths.output.mkdir(parents=True, exist_ok=True)
        temporary = self._paths.progress.with_name(".progress")
        temporary.write_text(Progress(step=done, steps=self._clips).model_dump_json())
        temporary.replace(self._paths.progress)


def _whole(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """No half-written file."""
    return None if Path(member.name).name.startswith(".") and member.name != "." else member
