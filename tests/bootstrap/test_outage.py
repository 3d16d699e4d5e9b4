"""S3 out of reach, a full disk, a hanging install, a shutdown: none of them ends a healthy run or keeps a box alive."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fake_s3 import FakeS3
from one_box import NoMetadata, box_in, live
from test_agent import MakeBox, ScriptedMetadata, agent, events_of, python_in_venv, status_of, trainer

from bootstrap.agent import Agent
from bootstrap.metadata import Heard, Notice
from bootstrap.snapshot import snapshot
from bootstrap.state import Box
from bootstrap.store import RunStore
from bootstrap.sync import sync
from bootstrap.takeover import take_over
from bootstrap.workload import Workload
from contract.box import EXIT_SAVED
from contract.config import Config
from contract.errors import StaleLease
from contract.layout import RunLayout
from contract.status import Phase, Status


class Outage:
    """Refuses every request of a box while it is on."""

    def __init__(self, box: Box, *, requests: int | None = None) -> None:
        self.left = requests
        self.on = True
        box.store._objects._s3.meta.events.register("before-parameter-build.s3", self.refuse)

    def refuse(self, **_: object) -> None:
        if self.on and self.left != 0:
            self.left = None if self.left is None else self.left - 1
            raise EndpointConnectionError(endpoint_url="s3")


def test_an_outage_at_boot_is_waited_for(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(20))
    Outage(box, requests=6)
    assert agent(box).run() == 0
    assert status_of(s3).phase is Phase.DONE


def test_an_outage_at_boot_that_lasts_leaves_the_run_to_the_next_box(make_box: MakeBox) -> None:
    box = make_box("i-1", trainer(20))
    Outage(box)
    assert Agent(box, ScriptedMetadata(), patience_seconds=0, sleep=lambda _: None).run() == EXIT_SAVED


def test_a_refused_permission_ends_the_run_at_once(make_box: MakeBox) -> None:
    box = make_box("i-1", trainer(20))

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    box.store._objects._s3.meta.events.register("before-parameter-build.s3", refuse)
    with pytest.raises(Exception, match=r"permissions\.md"):
        agent(box).run()


class NoticeInOutage(ScriptedMetadata):
    def __init__(self, box: Box, at: int) -> None:
        super().__init__(box, at)
        self.box = box
        self.outage: Outage | None = None

    def listen(self) -> Heard:
        heard = super().listen()
        if heard.notice and not self.outage:
            self.outage = Outage(self.box)
        return heard


def test_a_notice_during_an_outage_does_not_end_the_run(make_box: MakeBox, s3: Any) -> None:
    first = make_box("i-1", trainer(150))
    metadata = NoticeInOutage(first, 60)
    life = Agent(
        first,
        metadata,
        preparations=(python_in_venv,),
        wait_after_notice_seconds=0,
        patience_seconds=0.2,
        sleep=lambda seconds: time.sleep(min(seconds, 0.05)),
    )
    life._voice.drain = lambda: None  # type: ignore[method-assign]
    assert life.run() == EXIT_SAVED
    assert status_of(s3).phase is Phase.TRAINING
    assert metadata.outage
    metadata.outage.on = False
    assert agent(make_box("i-2", trainer(150))).run() == 0
    assert status_of(s3).restored_step >= 10


def test_an_outage_at_the_end_does_not_lose_the_model(make_box: MakeBox, s3: Any) -> None:
    box = make_box("i-1", trainer(10))
    outage = Outage(box)
    outage.on = False
    life = agent(box)
    finish = life._endings.finish

    def in_an_outage() -> int:
        outage.on, outage.left = True, 25
        return finish()

    life._endings.finish = in_an_outage  # type: ignore[method-assign]
    assert life.run() == 0
    assert status_of(s3).phase is Phase.DONE


def test_a_notice_does_not_wait_for_the_install(make_box: MakeBox, s3: Any) -> None:
    release = threading.Event()

    class Early(ScriptedMetadata):
        def listen(self) -> Heard:
            return Heard(Notice("spot", None))

    life = agent(make_box("i-1"), Early(), preparations=(lambda box: release.wait(60),))
    began = time.monotonic()
    assert life.run() == EXIT_SAVED
    assert time.monotonic() - began < 30
    assert status_of(s3).phase is Phase.INTERRUPTED
    release.set()


def test_a_risk_is_told_and_synced_at_once(make_box: MakeBox, s3: Any) -> None:
    class Risky(ScriptedMetadata):
        def listen(self) -> Heard:
            return Heard(None, frozenset({"maintenance: system-reboot scheduled for tomorrow"}))

    assert agent(make_box("i-1", trainer(30)), Risky()).run() == 0
    told = [event for event in events_of(s3) if event.kind == "maintenance"]
    assert [event.message for event in told] == ["system-reboot scheduled for tomorrow"]


# --- a full disk -------------------------------------------------------------------------------------


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_stops_neither_sync_nor_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live(tmp_path, "i-1", checkpoints=1, finish=False)
    box = box_in(tmp_path, "i-1")
    (box.paths.checkpoints / "step-00000002.ckpt").write_bytes(b"two")
    with monkeypatch.context() as patched:
        patched.setattr("os.link", full_disk)
        patched.setattr(box.paths.state.__class__, "replace", full_disk)  # of state.json
        bucket = box.store._objects._s3._s3  # type: ignore[attr-defined]
        bucket.objects = dict(bucket.objects)
        assert sync(box).checkpoint_step == 2
        box.enter(Phase.INTERRUPTED)
        assert box.load().phase is Phase.INTERRUPTED
    assert box_in(tmp_path, "i-1").load().checkpoint_step == 1
    assert sync(box).checkpoint_step == 2
    assert box_in(tmp_path, "i-1").load().checkpoint_step == 2


def test_where_no_links_can_be_made_the_files_themselves_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ck"
    folder.mkdir()
    (folder / "a").write_text("one")
    monkeypatch.setattr("os.link", full_disk)
    with snapshot(folder, tmp_path / "staging") as files:
        assert files.directory == folder
        assert files.unchanged()
        (folder / "a").write_text("another")
        assert not files.unchanged()
    assert (folder / "a").exists()


# --- stale boxes and lost answers ---------------------------------------------------------------------


def test_a_stale_box_cannot_write_over_the_status(tmp_path: Path) -> None:
    live(tmp_path, "i-old", checkpoints=1, finish=False)
    old = box_in(tmp_path, "i-old")
    s3 = old.store._objects._s3._s3  # type: ignore[attr-defined]
    layout, done = RunLayout("demo"), []

    def gate(operation: str, key: str, request: Any) -> Any:
        if operation == "put" and key == layout.status and not done:
            done.append(live(tmp_path, "i-new", checkpoints=1, finish=True))
        return request()

    store = RunStore(s3.client(gate), "bucket", "demo")
    with pytest.raises(StaleLease):
        sync(Box(**{**vars(old), "store": store}))
    status = Status.model_validate_json(s3.objects[layout.status])
    assert (status.instance, status.phase) == ("i-new", Phase.DONE)


def test_a_checkpoint_whose_success_was_lost_is_not_committed_twice(tmp_path: Path) -> None:
    live(tmp_path, "i-1", checkpoints=2, finish=False)
    box = box_in(tmp_path, "i-1")
    before = box.load().checkpoint
    box.update(synced=())
    assert sync(box).checkpoint == before


def test_the_best_checkpoint_is_kept_and_is_the_last_resort(tmp_path: Path) -> None:
    s3 = FakeS3()
    store = RunStore(s3.client(), "bucket", "demo")  # type: ignore[arg-type]
    box = Box(**{**vars(box_in(tmp_path, "i-1")), "store": store})
    take_over(box, NoMetadata(), None)
    ids = []
    for step, loss in enumerate((0.9, 0.2, 0.5, float("nan"), 0.2, 0.7), 1):
        (box.paths.checkpoints / f"step-{step}.ckpt").write_bytes(b"%d" % step)
        (box.paths.checkpoints / f"step-{step - 1}.ckpt").unlink(missing_ok=True)
        with snapshot(box.paths.checkpoints, tmp_path / "staging") as files:
            ids.append(store.commit_checkpoint(files, step, box.load().lease, 2, loss).id)
    kept = {key.split("/")[3] for key in s3.objects if "checkpoints/" in key}
    assert kept == {ids[1], ids[4], ids[5]}
    for checkpoint in ids[4:]:
        del s3.objects[store.layout.checkpoint_manifest(checkpoint)]
    manifest, complaints = store.restore(tmp_path / "new")
    assert manifest
    assert manifest.id == ids[1]
    assert len(complaints) == 2


def test_nothing_depends_on_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live(tmp_path, "i-1", checkpoints=2, finish=False)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert live(tmp_path, "i-2", checkpoints=2, finish=False) == 2
    assert live(tmp_path, "i-3", checkpoints=0, finish=False) == 4


# --- processes ---------------------------------------------------------------------------------------


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "child.pid"
    yield path
    if path.exists():
        with suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)


def test_the_children_of_an_ended_trainer_do_not_outlive_it(tmp_path: Path, children: Path) -> None:
    box = box_in(tmp_path, "i-1")
    command = ("sh", "-c", f"sleep 60 & echo $! > {children}; exit 3")
    config = Config.model_validate(box.config.model_dump() | {"trainer": {"command": command}})
    box.paths.home.mkdir(parents=True, exist_ok=True)
    workload = Workload(box.paths, config, {"PATH": os.environ["PATH"]})
    while workload.exit_code is None:
        time.sleep(0.01)
    assert workload.clear() == 3
    state = Path(f"/proc/{children.read_text().strip()}/stat")
    deadline = time.monotonic() + 60
    while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not state.exists() or state.read_text().split()[2] == "Z"
