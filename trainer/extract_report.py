"""What a person sees of an extraction. Enters: outcomes. Leaves: progress, the summary, the exit code."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from contract.errors import DataError
from trainer.record import Record

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

EXIT_PARTIAL, EXIT_STOPPED = 7, 130
PLAIN_SECONDS = 5.0
"""Between two lines where there is no terminal."""


@dataclass(frozen=True)
class Outcome:
    """One clip."""

    clip: str
    failure: str = ""
    doubts: tuple[str, ...] = ()
    frames: int = 0
    empty_share: float = 0.0
    """Of frames without a hand."""
    cached: bool = False

    @classmethod
    def of(cls, record: Record, *, cached: bool = False) -> Outcome:
        return cls(record.clip, record.failure, record.doubts, record.frames, record.empty_share, cached)


@dataclass(frozen=True)
class Summary:
    outcomes: Sequence[Outcome]
    max_empty: float
    """Share of frames without a hand above which a clip is doubtful, 0 to 1."""

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.failure]

    @property
    def doubtful(self) -> list[tuple[Outcome, str]]:
        """Clips whose keypoints are there, and why to look at them."""
        found = []
        for outcome in self.outcomes:
            reasons = list(outcome.doubts)
            if not outcome.failure and outcome.empty_share > self.max_empty:
                reasons.append(f"no hand in {outcome.empty_share:.0%} of {outcome.frames} frames")
            if reasons:
                found.append((outcome, "; ".join(reasons)))
        return found

    @property
    def exit_code(self) -> int:
        if len(self.failed) == len(self.outcomes):
            return DataError.exit_code
        return EXIT_PARTIAL if self.failed or self.doubtful else 0

    @property
    def good(self) -> list[Outcome]:
        """Clips whose keypoints are there."""
        return [outcome for outcome in self.outcomes if not outcome.failure]

    @property
    def unchanged(self) -> int:
        """Good clips that were so before."""
        return sum(outcome.cached for outcome in self.good)

    @property
    def frames(self) -> int:
        return sum(outcome.frames for outcome in self.good)

    @property
    def hand_share(self) -> float | None:
        """Of all frames, those with a hand; None where there is no frame."""
        seen = sum(outcome.frames * (1 - outcome.empty_share) for outcome in self.good)
        return seen / self.frames if self.frames else None

    def as_json(self, to: Path) -> str:
        content = {
            "folder": str(to),
            "clips": len(self.outcomes),
            "extracted": len(self.good),
            "unchanged": self.unchanged,
            "frames": self.frames,
            "hand_share": self.hand_share,
            "failed": [{"clip": outcome.clip, "why": outcome.failure} for outcome in self.failed],
            "doubtful": [{"clip": outcome.clip, "why": why} for outcome, why in self.doubtful],
        }
        return json.dumps(content, indent=2)  # in ASCII: file names need not be UTF-8

    def text(self, to: Path) -> str:
        unchanged = f" ({self.unchanged} unchanged)" if self.unchanged else ""
        lines = [f"{len(self.good)} of {len(self.outcomes)} clips in {to}{unchanged}"]
        if self.hand_share is not None:
            lines[0] += f"; a hand in {self.hand_share:.1%} of {self.frames} frames"
        lines += [f"failed    {outcome.clip}: {outcome.failure}" for outcome in self.failed]
        lines += [f"doubtful  {outcome.clip}: {why}" for outcome, why in self.doubtful]
        return "\n".join(lines)


class Progress:
    """A bar on a terminal, a line every few seconds elsewhere; clips a second and time left on both."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._total = self._done = self._to_do = 0
        self._began = self._said = 0.0
        self._bar: RichProgress | None = None

    def begin(self, total: int, done: int) -> None:
        """`done` of the `total` clips are there already."""
        self._total, self._to_do = total, total - done
        self._began = self._said = self._clock()
        if self._to_do and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (BarColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.add_task(self._line(), total=self._to_do)
            self._bar.start()

    def advance(self) -> None:
        """One more clip is through."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, description=self._line())
        elif self._clock() - self._said >= PLAIN_SECONDS:
            self._said = self._clock()
            print(self._line(), file=self._stream, flush=True)

    def _line(self) -> str:
        line = f"{self._total - self._to_do + self._done} of {self._total} clips"
        seconds = self._clock() - self._began
        if not self._done or seconds <= 0:
            return line
        pace = self._done / seconds
        left = timedelta(seconds=round((self._to_do - self._done) / pace))
        return f"{line}, {pace:.2f} clips/s, {left} left"

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
