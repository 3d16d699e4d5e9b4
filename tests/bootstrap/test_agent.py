"""The agent's whole life with a real trainer process and an emulated S3; only AWS's notices are scripted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from bootstrap.agent import Agent
from bootstrap.metadata import Heard, Metadata, Notice
from bootstrap.state import Box
from bootstrap.sync import sync
from bootstrap.takeover import restore, take_over
from contract.box import EXIT_SAVED
from contract.errors import ConfigError, StaleLease, StorageError
from contract.status import Event, Phase, Status

BUCKET = "bucket"
MakeBox = Callable[..., Box]

TRAINER = """
import json, os, pathlib, signal, sys, time
ck, out, model = (pathlib.Path(os.environ[n]) for n in ("SM_CHECKPOINT_DIR", "SM_OUTPUT_DIR", "SM_MODEL_DIR"))
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
step = max([int(p.name[5:]) for p in ck.glob("step-*")], default=0)
print("begins at", step, flush=True)
def save():
    (ck / ".new").write_text(str(step)); (ck / ".new").rename(ck / f"step-{step:08d}")
    for p in ck.glob("step-*"):
        if int(p.name[5:]) < step: p.unlink()
while step < int(sys.argv[1]):
    step += 1
    (out / ".p").write_text(json.dumps({"step": step, "steps": int(sys.argv[1])}))
    (out / ".p").rename(out / "progress.json")
    if step % 10 == 0: save()
    time.sleep(0.01)
    if stop: save(); sys.exit(75)
(model / "model.keras").write_text("model")
"""


class ScriptedMetadata(Metadata):
    """Says there is a notice from a certain trainer step on."""

    def __init__(self, box: Box | None = None, notice_at_step: int | None = None) -> None:
        super().__init__("http://127.0.0.1:9")
        self._box = box
        self._at = notice_at_step

    def get(self, path: str) -> str | None:
        return {"instance-type": "g4dn.xlarge", "placement/availability-zone": "us-east-1a"}.get(path)

    def listen(self) -> Heard:
        if self._box is None or self._at is None:
            return Heard()
        try:
            step = json.loads(self._box.paths.progress.read_text())["step"]
        except FileNotFoundError:
            return Heard()
        return Heard(Notice("spot", None) if step >= self._at else None)


def agent(box: Box, metadata: Metadata | None = None, **preparations: Any) -> Agent:
    return Agent(
        box,
        metadata or ScriptedMetadata(),
        preparations=preparations.get("preparations", (python_in_venv,)),
        wait_after_notice_seconds=0,
        sleep=lambda seconds: time.sleep(min(seconds, 0.05)),
    )


def python_in_venv(box: Box) -> None:
    (box.paths.venv / "bin").mkdir(parents=True, exist_ok=True)
    (box.paths.venv / "bin/python").symlink_to(sys.executable)


def trainer(steps: int) -> tuple[str, ...]:
    return ("python", "-c", TRAINER, str(steps))


def status_of(s3: Any) -> Status:
    return Status.model_validate_json(s3.get_object(Bucket=BUCKET, Key="runs/demo/status.json")["Body"].read())


def events_of(s3: Any) -> list[Event]:
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/demo/events/")["Contents"]]
    bodies = [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in sorted(keys)]
    return [Event.model_validate_json(body) for body in bodies]


def log_of(s3: Any, instance: str, stream: str = "trainer") -> str:
    prefix = f"runs/demo/logs/{instance}/{stream}/"
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]]
    return b"".join(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in sorted(keys)).decode()


def test_a_run_that_is_left_alone_ends_done_with_its_model(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(30))
    assert agent(box).run() == 0
    status = status_of(s3)
    assert (status.phase, status.progress.step, status.checkpoint_step) == (Phase.DONE, 30, 30)
    assert s3.get_object(Bucket=BUCKET, Key="runs/demo/model/model.keras")["Body"].read() == b"model"
    assert [event.kind for event in events_of(s3)] == ["booting", "ready", "training", "done"]
    assert "begins at 0" in log_of(s3, "i-1")


def test_a_notice_saves_the_very_step_and_the_next_box_goes_on_from_it(make_box: MakeBox, s3: Any) -> None:
    first = make_box("i-1", trainer(150))
    assert agent(first, ScriptedMetadata(first, notice_at_step=33)).run() == EXIT_SAVED
    interrupted = status_of(s3)
    assert interrupted.phase is Phase.INTERRUPTED
    assert interrupted.checkpoint_step == interrupted.progress.step >= 33
    second = make_box("i-2", trainer(150))
    assert agent(second).run() == 0
    assert f"begins at {interrupted.checkpoint_step}\n" in log_of(s3, "i-2")
    done = status_of(s3)
    assert (done.phase, done.attempts, done.restored_step) == (Phase.DONE, 2, interrupted.checkpoint_step)


def test_a_finished_run_is_not_paid_for_twice(make_box: MakeBox, s3: Any) -> None:
    agent(make_box("i-1", trainer(10))).run()

    def never(box: Box) -> None:
        raise AssertionError("a box that finds the run done prepares nothing")

    assert agent(make_box("i-2", trainer(10)), preparations=(never,)).run() == 0
    assert status_of(s3).instance == "i-1"


def test_a_trainer_that_always_fails_is_given_up_with_its_reason(make_box: MakeBox, s3: Any) -> None:
    script = "import os; open(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('no such column: label'); exit(3)"
    box = make_box("i-1", ("python", "-c", script), max_attempts="2")
    assert agent(box).run() == 6
    status = status_of(s3)
    assert status.phase is Phase.FAILED
    assert "no such column: label" in status.reason
    assert [event.kind for event in events_of(s3)].count("trainer failed") == 2


def test_a_trainer_that_fails_once_goes_on_from_its_checkpoint(make_box: MakeBox, s3: Any) -> None:
    crash = "    if step == 25 and not (ck.parent / 'crashed').exists(): (ck.parent / 'crashed').touch(); exit(1)\n"
    crash_once = TRAINER.replace("    if stop:", crash + "    if stop:")
    box = make_box("i-1", ("python", "-c", crash_once, "40"))
    assert agent(box).run() == 0
    assert log_of(s3, "i-1").splitlines() == ["begins at 0", "begins at 20"]


def test_boots_without_progress_are_counted_and_ended(make_box: MakeBox, s3: Any) -> None:
    def dies_in_boot(box: Box) -> None:
        raise KeyboardInterrupt  # as SIGKILL would: nothing is written any more

    for number in range(3):
        box = make_box(f"i-{number}", max_attempts="3")
        with pytest.raises(KeyboardInterrupt):
            agent(box, preparations=(dies_in_boot,)).run()
    last = agent(make_box("i-last", max_attempts="3"), preparations=(dies_in_boot,))
    assert last.run() == 6
    status = status_of(s3)
    assert status.phase is Phase.FAILED
    assert "3 boots in a row" in status.reason


def test_a_notice_while_booting_costs_no_attempt(make_box: MakeBox, s3: Any) -> None:
    class Early(ScriptedMetadata):
        def listen(self) -> Heard:
            return Heard(Notice("spot", None))

    assert agent(make_box("i-1"), Early(), preparations=(lambda box: time.sleep(0.3),)).run() == EXIT_SAVED
    assert status_of(s3).phase is Phase.INTERRUPTED
    assert agent(make_box("i-2", trainer(10))).run() == 0
    assert status_of(s3).fruitless_attempts == 0


def test_training_begins_as_soon_as_all_is_there(make_box: MakeBox, s3: Any) -> None:
    """Nobody sleeps out a second in which the last package came."""
    naps: list[Phase] = []
    box, here, asked = make_box("i-1", trainer(1)), threading.get_ident(), threading.Event()

    class Asked(ScriptedMetadata):
        def listen(self) -> Heard:
            asked.set()
            return super().listen()

    def nap(seconds: float) -> None:
        if threading.get_ident() == here:
            naps.append(box.load().phase)
        time.sleep(min(seconds, 0.05))

    def slowly(box: Box) -> None:
        assert asked.wait(60)
        python_in_venv(box)

    life = Agent(box, Asked(), preparations=(slowly,), wait_after_notice_seconds=0, sleep=nap)
    assert life.run() == 0
    assert naps
    assert Phase.BOOTING not in naps


def test_a_failing_preparation_ends_the_run_with_its_reason(make_box: MakeBox, s3: Any) -> None:
    def no_index(box: Box) -> None:
        raise StorageError("the package index cannot be reached")

    assert agent(make_box("i-1"), preparations=(no_index,)).run() == 6
    assert "package index" in status_of(s3).reason


def test_a_zombie_stops_and_does_not_touch_the_group(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-old", trainer(100_000))
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(agent(box).run()))
    thread.start()
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (box.paths.state / "state.json").exists():
        time.sleep(0.05)
    while time.monotonic() < deadline and box.load().phase is not Phase.TRAINING:
        time.sleep(0.05)
    new = make_box("i-new")
    new.store.take_lease("i-new", datetime.now(UTC))
    thread.join(30)
    assert results == [EXIT_SAVED]
    with pytest.raises(StaleLease):
        sync(box)


def test_a_failing_sync_never_stops_the_training(make_box: MakeBox, s3: Any) -> None:
    """sagemaker-python-sdk#3062: uploads stopped silently; epoch 18 of 50 was kept."""
    refused: list[str] = []

    def refuse(params: dict[str, Any], **_: object) -> None:
        if "checkpoints/" in params["Key"] and len(refused) < 3:
            refused.append(params["Key"])
            raise EndpointConnectionError(endpoint_url="s3")

    box = make_box("i-1", trainer(80))
    agent_ = agent(box)
    for operation in ("PutObject", "UploadPart"):
        box.store._objects._s3.meta.events.register(f"provide-client-params.s3.{operation}", refuse)
    assert agent_.run() == 0
    assert len(refused) == 3
    assert (status_of(s3).phase, status_of(s3).checkpoint_step) == (Phase.DONE, 80)


def test_sync_twice_writes_a_checkpoint_once(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(10))
    agent(box).run()
    before = s3.list_object_versions(Bucket=BUCKET, Prefix="runs/demo/checkpoints/")
    sync(box)
    assert s3.list_object_versions(Bucket=BUCKET, Prefix="runs/demo/checkpoints/")["Versions"] == before["Versions"]


def test_cron_runs_the_very_same_sync(make_box: MakeBox, tmp_path: Path) -> None:
    box = make_box("i-1")
    box.write_cron()
    fields = box.paths.cron.read_text().split(maxsplit=6)
    assert fields[:6] == ["*", "*", "*", "*", "*", "root"]
    script = fields[6].split()[0]
    assert "bootstrap.sync" in Path(script).read_text()
    assert "SECRET" not in Path(script).read_text()
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_syncs_of_cron_do_not_pile_up_while_one_hangs(make_box: MakeBox) -> None:
    box = make_box("i-1")
    box.write_cron()
    python = box.paths.venv / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho one >>started\nexec sleep 600\n")
    python.chmod(0o755)
    with subprocess.Popen(["/bin/sh", box.paths.home / "sync.sh"]) as first:
        try:
            while not (box.paths.home / "started").exists():
                time.sleep(0.01)
            again = subprocess.run(["/bin/sh", box.paths.home / "sync.sh"], check=False, timeout=60)
        finally:
            first.kill()
    assert again.returncode == 1
    assert (box.paths.home / "started").read_text() == "one\n"


def test_what_is_not_restored_yet_is_no_new_checkpoint(make_box: MakeBox, s3: Any) -> None:
    """Cron syncs while a box boots: half of a set that is being put in place must not become the newest one."""
    box = make_box("i-1")
    take_over(box, ScriptedMetadata(), None)
    (box.paths.checkpoints / "half-of-step-99").write_bytes(b"half")
    sync(box)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/demo/checkpoints/")
    restore(box, lambda _: None)
    (box.paths.checkpoints / "step-100").write_bytes(b"whole")
    assert sync(box).checkpoint_step == 100


def test_before_the_deadline_the_box_ends_the_run_itself_saved_and_with_a_reason(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(100_000))
    stop_at = datetime.now(UTC) + timedelta(minutes=3, seconds=2)
    assert agent(replace(box, stop_at=stop_at)).run() == 0
    status = status_of(s3)
    assert status.phase is Phase.EXPIRED
    assert status.checkpoint_step == status.progress.step > 0
    assert "the time of the run is over" in status.reason and "what was trained is saved" in status.reason
    assert agent(make_box("i-2", trainer(10))).run() == 0
    assert status_of(s3).instance == "i-1"


@pytest.mark.parametrize("text", ["soon", "2026-01-01T12:00:00"])
def test_a_deadline_that_is_none_is_refused(make_box: MakeBox, text: str) -> None:
    box = make_box("i-1")
    with pytest.raises(ConfigError, match="STOP_AT"):
        Box.from_environment({**box.environment, "STOP_AT": text})
