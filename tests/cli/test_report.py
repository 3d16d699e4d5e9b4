"""`signspot report`: from a folder, from the account, opened in a browser where one is found."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.report import find_in, home_of, is_folder
from contract.errors import CloudError, DataError
from contract.run_report import attempts_of, page_of
from contract.status import Event, Machine, Phase, Progress, Status
from rehearsal.aws import EmulatedAws
from tests.cli import schemas
from tests.cli.account import Account
from tests.cli.runs import put_model
from tests.cli.test_cost import with_run
from tests.contract.test_report import EVIL, HISTORY, METRICS, Reader, whole

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


def event(minute: float, kind: str, instance: str, step: int = 0, message: str = "") -> Event:
    launched = NOON + timedelta(minutes=minute - 1)
    machine = Machine(type="g4dn.xlarge", zone="us-east-1a", launched=launched) if kind == "booting" else None
    time = NOON + timedelta(minutes=minute)
    return Event(time=time, kind=kind, instance=instance, step=step, message=message, machine=machine)


EVENTS = [
    event(1, "booting", "i-0a"),
    event(3, "training", "i-0a"),
    event(11, "booting", "i-0b"),
    event(12, "restored", "i-0b", 8),
    event(15, "notice", "i-0b", 12, EVIL),
    event(16, "interrupted", "i-0b", 14),
    event(21, "booting", "i-0c"),
    event(22, "restored", "i-0c", 14),
    event(30, "done", "i-0c", 20),
]


def silent(_: str) -> Any:
    raise CloudError("AWS cannot be asked", why="no credentials")


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    folder = tmp_path / "démo"
    (folder / "model").mkdir(parents=True)
    whole(folder / "model")
    (folder / "events.jsonl").write_text("".join(one.model_dump_json() + "\n" for one in EVENTS))
    status = Status(run="demo", phase=Phase.DONE, heartbeat=NOON, reason=EVIL)
    (folder / "status.json").write_text(status.model_dump_json())
    return folder


def test_attempts_are_told_from_events_also_of_a_box_that_was_taken_without_a_word() -> None:
    found = attempts_of(list(reversed(EVENTS)))
    assert [(one.number, one.instance, one.from_step, one.to_step, one.how, one.lost) for one in found] == [
        (1, "i-0a", 0, 8, "training", True),
        (2, "i-0b", 8, 14, "interrupted", True),
        (3, "i-0c", 14, 20, "done", False),
    ]
    assert found[0].began == NOON
    assert attempts_of([]) == []


def test_the_attempt_that_trains_is_as_far_as_its_status_says() -> None:
    status = Status(run="demo", phase=Phase.TRAINING, heartbeat=NOON, progress=Progress(step=17))
    (first, last) = attempts_of(EVENTS[2:8], status)
    assert (first.to_step, last.to_step, last.lost) == (14, 17, False)


def test_a_page_of_what_was_fetched(fetched: Path) -> None:
    text = page_of(find_in(fetched, silent, NOON), NOON)
    read = Reader(text)
    assert "<script" not in text
    assert all(one.startswith("data:") for one in read.loaded())
    for word in (
        "signspot: demo",
        "The run is done",
        "3 instances; 2 ended before the run was done",
        "There is no receipt: AWS cannot be asked. no credentials",
        "signspot fetch demo",
        "日本",
        EVIL,
    ):
        assert word in read.text
    assert sum(tag == "svg" for tag, _ in read.tags) == 3
    titles = [one for one in read.words if one.startswith("i-0")]
    assert {"i-0a: training", "i-0b: interrupted"} <= set(titles)
    assert "i-0c: done" not in titles


def test_a_training_without_a_box_has_no_receipt_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    whole(tmp_path / "model")
    text = Reader(page_of(find_in(tmp_path, silent, NOON), NOON)).text
    assert "There are no events: this was trained by itself" in text
    assert "There is no receipt: nothing ran in an account" in text
    assert "signspot fetch" not in text


@pytest.mark.parametrize("missing", ["events.jsonl", "status.json", "model"])
def test_each_part_may_be_missing(fetched: Path, missing: str) -> None:
    path = fetched / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    Reader(page_of(find_in(fetched, silent, NOON), NOON))


def test_a_folder_with_nothing_of_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds nothing of a run"):
        find_in(tmp_path, silent, NOON)


def test_the_command_writes_beside_the_model_and_not_among_what_verifies(
    fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.live.brisk", silent)
    before = sorted((fetched / "model").iterdir())
    shown = CliRunner().invoke(app, ["report", str(fetched / "model"), "--json"])
    assert shown.exit_code == 0, shown.output
    assert schemas.check("report", shown.stdout) == {"report": str(fetched / "report.html")}
    assert sorted((fetched / "model").iterdir()) == before
    assert Reader((fetched / "report.html").read_text(encoding="utf-8")).tags


def test_open_shows_it(fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("cli.live.brisk", silent)
    monkeypatch.setattr("webbrowser.open", shown.append)
    done = CliRunner().invoke(app, ["report", str(fetched), "--out", str(tmp_path / "a b.html"), "--open"])
    assert done.exit_code == 0, done.output
    assert shown == [(tmp_path / "a b.html").as_uri()]


def test_a_folder_of_another_thing_is_taken_for_the_name_of_a_run(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert not is_folder("demo")
    (tmp_path / "demo/history.csv").touch()
    assert is_folder("demo")
    assert home_of(Path("demo/model")) == tmp_path / "demo"


@pytest.fixture
def account(emulated: EmulatedAws, at_a_laptop: None) -> Iterator[Account]:
    account = Account(emulated)
    yield account
    account.clear()


def test_a_run_of_the_account(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bucket = with_run(account)
    files = {"model.keras": b"weights", "metrics.json": json.dumps(METRICS).encode(), "history.csv": HISTORY.encode()}
    put_model(account.aws.client("s3"), bucket, files=files)
    shown = CliRunner().invoke(app, ["report", "demo", "--json"])
    assert shown.exit_code == 0, (shown.output, shown.exception)
    place = schemas.check("report", shown.stdout)["report"]
    assert place == "results/demo/report.html"
    text = Reader(Path(place).read_text(encoding="utf-8")).text
    for word in ("i-0a", "i-0b", "on demand", "% saved", "total", "日本", "there is no confusion.png"):
        assert word in text
    missing = CliRunner().invoke(app, ["report", "other"])
    assert isinstance(missing.exception, CloudError)
    assert "signspot report results/other" in str(missing.exception)


def browse(*options: str) -> subprocess.CompletedProcess[str]:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on the PATH")
    headless = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    return subprocess.run([browser, *headless, *options], capture_output=True, text=True, timeout=120, check=True)


def test_a_browser_shows_it_without_an_error_and_a_phone_without_scrolling_sideways(
    fetched: Path, tmp_path: Path
) -> None:
    text = page_of(find_in(fetched, silent, NOON), NOON)
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    shown = browse(profile, (tmp_path / "report.html").as_uri())
    assert "signspot: demo" in shown.stdout
    assert "CONSOLE" not in shown.stderr
    script = 'const root = document.documentElement; console.log("wide", root.scrollWidth - root.clientWidth)'
    measured = f"<script>{script}</script></body>"
    text = text.replace("default-src 'none'", "default-src 'unsafe-inline'").replace("</body>", measured)
    (tmp_path / "measured.html").write_text(text, encoding="utf-8")
    shown = browse(profile, "--window-size=390,800", (tmp_path / "measured.html").as_uri())
    assert '"wide 0"' in shown.stderr
