from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli import schemas
from trainer.extract_report import Outcome, Progress, Summary

GOOD = Outcome("tea/a.mp4", frames=60, empty_share=0.1)
BARE = Outcome("tea/b.mp4", frames=40, empty_share=0.75)
ODD = Outcome("tea/c.mp4", frames=50, doubts=("is interlaced",), cached=True)
FAILED = Outcome("tea/d.mp4", failure="is empty")


def test_every_clip_that_is_not_good_is_named_with_why() -> None:
    lines = Summary((GOOD, BARE, ODD, FAILED), 0.5).text(Path("out")).splitlines()
    assert lines == [
        "3 of 4 clips in out (1 unchanged); a hand in 76.0% of 150 frames",
        "failed    tea/d.mp4: is empty",
        "doubtful  tea/b.mp4: no hand in 75% of 40 frames",
        "doubtful  tea/c.mp4: is interlaced",
    ]


def test_the_same_as_json() -> None:
    """Names that are not UTF-8 come through, too."""
    unnamed = replace(FAILED, clip="tea/\udcff.mp4")
    told = schemas.check("extract", Summary((GOOD, BARE, ODD, FAILED, unnamed), 0.5).as_json(Path("out")))
    assert told.pop("hand_share") == pytest.approx((54 + 10 + 50) / 150)
    assert told == {
        **{"folder": "out", "clips": 5, "extracted": 3, "unchanged": 1, "frames": 150},
        "failed": [{"clip": "tea/d.mp4", "why": "is empty"}, {"clip": "tea/\udcff.mp4", "why": "is empty"}],
        "doubtful": [
            {"clip": "tea/b.mp4", "why": "no hand in 75% of 40 frames"},
            {"clip": "tea/c.mp4", "why": "is interlaced"},
        ],
    }
    assert schemas.check("extract", Summary((FAILED,), 0.5).as_json(Path("out")))["hand_share"] is None


def test_exit_codes() -> None:
    assert Summary((GOOD,), 0.5).exit_code == 0
    assert Summary((GOOD, BARE), 0.8).exit_code == 0
    assert Summary((GOOD, BARE), 0.5).exit_code == 7
    assert Summary((GOOD, FAILED), 0.5).exit_code == 7
    assert Summary((ODD,), 0.5).exit_code == 7
    assert Summary((FAILED, FAILED), 0.5).exit_code == 3


def test_plain_lines_every_few_seconds() -> None:
    out, now = io.StringIO(), [100.0]
    with Progress(out, lambda: now[0]) as progress:
        progress.begin(total=12, done=2)
        for _ in range(8):
            now[0] += 2
            progress.advance()
    assert out.getvalue().splitlines() == [
        "5 of 12 clips, 0.50 clips/s, 0:00:14 left",
        "8 of 12 clips, 0.50 clips/s, 0:00:08 left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal() -> None:
    out, now = Terminal(), [0.0]
    with Progress(out, lambda: now[0]) as progress:
        progress.begin(total=3, done=0)
        now[0] = 4
        progress.advance()
    assert "1 of 3 clips, 0.25 clips/s, 0:00:08 left" in out.getvalue()


def test_nothing_to_do_says_nothing() -> None:
    out = Terminal()
    with Progress(out) as progress:
        progress.begin(total=3, done=3)
    assert out.getvalue() == ""
