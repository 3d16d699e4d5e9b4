from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.__main__ import ALL, HERE, Benchmark, run_all
from benchmarks.result import Result, Row

WRITES = """
'''Measures itself.

More.
'''
import sys
from pathlib import Path
from benchmarks.result import Result, Row
Result(name="good", what="", how="", rows=(Row(measure="m", unit="s", ours=(1,)),)).write(Path(sys.argv[-1]))
"""


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Another folder of benchmarks, beside the modules that they need."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "__init__.py").write_text(f"__path__.append({str(HERE)!r})\n")
    return folder


def outcome(folder: Path, name: str) -> Result:
    return Result.model_validate_json((folder / f"{name}.json").read_bytes())


def test_every_benchmark_of_the_list_fits_into_half_an_hour() -> None:
    assert sum(benchmark.minutes for benchmark in ALL) <= 30
    assert len({benchmark.name for benchmark in ALL}) == len(ALL)


def test_one_that_fails_hangs_or_is_absent_is_said_and_the_next_one_follows(room: Path, tmp_path: Path) -> None:
    (room / "bad.py").write_text("'''Fails.'''\nraise SystemExit(3)\n")
    (room / "slow.py").write_text("'''Hangs.'''\nimport time\ntime.sleep(600)\n")
    (room / "silent.py").write_text("'''Says nothing.'''\n")
    (room / "good.py").write_text(WRITES)
    names = [("slow", 0.005), ("bad", 1.0), ("silent", 1.0), ("absent", 1.0), ("good", 1.0)]
    run_all(tuple(Benchmark(name, minutes) for name, minutes in names), tmp_path / "out", again=False, room=room)
    found = {name: outcome(tmp_path / "out", name) for name, _ in names}
    assert found["bad"].skipped == "it exited with 3" and found["bad"].what == "Fails."
    assert found["slow"].skipped == "it was not done after 0.005 minutes"
    assert found["silent"].skipped == "it left no result"
    assert found["absent"].skipped == "there is no such benchmark"
    assert not found["good"].skipped and found["good"].rows[0].ours == (1,)


def test_what_one_leaves_of_its_time_the_next_one_may_take(room: Path, tmp_path: Path) -> None:
    for name in ("quick", "good"):
        (room / f"{name}.py").write_text(WRITES)
    run_all((Benchmark("good", 0), Benchmark("quick", 1)), tmp_path / "first", again=False, room=room)
    assert outcome(tmp_path / "first", "good").skipped
    run_all((Benchmark("quick", 1), Benchmark("good", 0)), tmp_path / "last", again=False, room=room)
    assert not outcome(tmp_path / "last", "good").skipped


def test_what_was_measured_is_not_measured_again_unless_asked(room: Path, tmp_path: Path) -> None:
    (room / "good.py").write_text(WRITES)
    kept = Result(name="good", what="kept", how="", rows=(Row(measure="m", unit="s", ours=(2,)),))
    kept.write(tmp_path / "good.json")
    run_all((Benchmark("good", 1),), tmp_path, again=False, room=room)
    assert outcome(tmp_path, "good") == kept
    run_all((Benchmark("good", 1),), tmp_path, again=True, room=room)
    assert outcome(tmp_path, "good").rows[0].ours == (1,)


def test_ctrl_c_ends_what_runs_and_leaves_no_result_of_it(room: Path, tmp_path: Path) -> None:
    began = tmp_path / "began"
    (room / "slow.py").write_text(
        "'''Hangs.'''\nimport os, pathlib, signal, time\n"
        f"pathlib.Path({str(began)!r}).write_text(str(os.getpid()))\n"
        f"os.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(600)\n"
    )
    with pytest.raises(KeyboardInterrupt):
        run_all((Benchmark("slow", 1), Benchmark("absent", 1)), tmp_path / "out", again=False, room=room)
    assert not (tmp_path / "out/slow.json").exists() and not (tmp_path / "out/absent.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)
