from __future__ import annotations

import sys

import pytest

from benchmarks.pairs import arguments, pairs, run

MIB = 2**20


def test_each_side_begins_as_often() -> None:
    said: list[str] = []

    def say(word: str) -> str:
        said.append(word)
        return f"{word} {len(said)}"

    ours, theirs = pairs(lambda: say("ours"), lambda: say("theirs"), 3)
    assert said == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert ours == ["ours 1", "ours 4", "ours 5"]
    assert theirs == ["theirs 2", "theirs 3", "theirs 6"]


def test_the_cost_is_the_childs_and_its_childrens() -> None:
    waste = f"import subprocess, sys; held = b'x' * {100 * MIB}; sum(range(3_000_000))"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waste!r}], check=True)"
    held = b"x" * 300 * MIB  # by the one that measures, whose memory is not the child's
    cost = run([sys.executable, "-c", nested])
    del held
    assert 100 < cost.peak_mib < 250
    assert cost.cpu_seconds > 0
    assert 0 < cost.seconds < 60


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match=r"exited with 3:\nno bucket"):
        run([sys.executable, "-c", "import sys; print('no bucket'); sys.exit(3)"])


def test_what_is_measured_keeps_its_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    arguments("name", None)
    run([sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"])
