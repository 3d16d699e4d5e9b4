from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.guide import REQUIREMENTS, make_repository, served
from benchmarks.start import FIRST_STEP, Failed, Start, attempt, limit, read_marks, rows


def test_phases_follow_one_another_and_add_up_to_the_whole() -> None:
    start = Start.of(100, {"b": 130, "a": 110}, {"a": "first", "b": "second"}, 145)
    assert start.seconds == 45
    assert start.phases == {"first": 10, "second": 20, FIRST_STEP: 15}


def test_of_each_word_the_first_time_counts(tmp_path: Path) -> None:
    assert read_marks(tmp_path / "marks") == {}
    (tmp_path / "marks").write_text("cloned 1.5\nstepped 2.5\nstepped 3.5\n")
    assert read_marks(tmp_path / "marks") == {"cloned": 1.5, "stepped": 2.5}


def test_a_guide_that_fails_leaves_ours_and_the_reason() -> None:
    def fails() -> Start:
        raise Failed("no index")

    ours = [Start(10, {FIRST_STEP: 4})]
    theirs, why = attempt(fails)
    assert (theirs, why) == ([], "no index")
    assert [row.measure for row in rows("cold", ours, theirs)] == [
        "cold: start → first step",
        f"cold, ours: {FIRST_STEP}",
    ]
    assert limit(ours, ours, theirs) == ""
    cold, guide = [Start(12, {FIRST_STEP: 4})], [Start(40, {FIRST_STEP: 9})]
    assert "2.0 s go by for fetching" in limit(cold, ours, guide)
    assert "0.25 of the guide's cold 40.0 s" in limit(cold, ours, guide)


def test_the_guides_project_can_be_cloned_and_its_script_compiles(tmp_path: Path) -> None:
    make_repository(tmp_path / "project")
    with served(tmp_path / "project/.git") as address:
        subprocess.run(["git", "clone", "-q", address, str(tmp_path / "clone")], check=True)
    listed = (tmp_path / "clone/requirements.txt").read_text().split()
    assert listed == ["tensorflow", *REQUIREMENTS]
    subprocess.run([sys.executable, "-m", "py_compile", str(tmp_path / "clone/train.py")], check=True)
