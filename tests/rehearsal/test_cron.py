"""Cron lines are cron's: the same format, the same poor environment, the right minute."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from rehearsal.cron import Job, jobs, parse, tick

NOON = datetime(2030, 1, 1, 12, 0, 0)


@pytest.mark.parametrize(
    ("schedule", "after", "until", "due"),
    [
        ("* * * * *", NOON.replace(second=1), NOON.replace(second=59), False),
        ("* * * * *", NOON.replace(second=59), NOON.replace(minute=1), True),
        ("*/5 * * * *", NOON.replace(minute=3), NOON.replace(minute=4, second=59), False),
        ("*/5 * * * *", NOON.replace(minute=4, second=59), NOON.replace(minute=5, second=1), True),
        ("not a schedule at all", NOON, NOON.replace(hour=13), False),
    ],
)
def test_a_job_is_due_in_its_minute(schedule: str, after: datetime, until: datetime, due: bool) -> None:
    assert Job(schedule, "true").due(after, until) == due


def test_lines_are_read_as_cron_reads_them() -> None:
    text = """# comment
PATH=/opt/bin:/bin
NAME = "quoted words"

*/2 * * * *  root  /opt/signspot/sync --quiet
* * * * * root lost, for want of a newline"""
    assert list(parse(text)) == [
        Job("*/2 * * * *", "/opt/signspot/sync --quiet", {"PATH": "/opt/bin:/bin", "NAME": "quoted words"})
    ]


def test_only_names_that_cron_takes(tmp_path: Path) -> None:
    for name in ("signspot", "signspot.bak", "signspot~"):
        (tmp_path / name).write_text(f"* * * * * root echo {name}\n")
    assert [job.command for job in jobs(tmp_path)] == ["echo signspot"]
    assert list(jobs(tmp_path / "absent")) == []


def test_a_due_line_runs_in_a_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://leaked")
    monkeypatch.setenv("SIGNSPOT_REHEARSAL_BOX", "the-marker")
    (tmp_path / "signspot").write_text(f"GIVEN=yes\n* * * * * root env >{tmp_path}/env\n")
    (started,) = tick(tmp_path, NOON.replace(second=59), NOON.replace(minute=1))
    assert started.wait(10) == 0
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert environment["PATH"] == "/usr/bin:/bin"
    assert environment["GIVEN"] == "yes"
    assert environment["SIGNSPOT_REHEARSAL_BOX"] == "the-marker"
    assert "AWS_ENDPOINT_URL" not in environment
