"""What the users of our peers lost, and why it is not lost here. One test per complaint, named after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from fake_s3 import FakeS3
from one_box import box_in, die, live
from test_agent import TRAINER, MakeBox, agent, events_of, status_of, trainer

from bootstrap.keeper import Keeper
from bootstrap.state import Box
from bootstrap.store import RunStore
from bootstrap.sync import sync
from bootstrap.voice import Voice
from contract.errors import StorageError
from contract.failpoints import Crash
from contract.status import Event, Health, Latest, Phase, Status

BUCKET = "bucket"


def test_sagemaker_3062_uploads_that_stop_are_told(tmp_path: Path) -> None:
    """Uploads stopped silently and the training went on: epoch 18 of 50 was kept."""
    live(tmp_path, "i-1", checkpoints=1, finish=False)
    s3, down = FakeS3(), [False]

    def gate(operation: str, key: str, request: Callable[[], Any]) -> Any:
        if down[0] and "checkpoints/" in key:
            raise EndpointConnectionError(endpoint_url="s3")
        return request()

    box = box_in(tmp_path, "i-1")
    s3.objects = box_in(tmp_path, "i-1").store._objects._s3._s3.objects
    box = Box(**{**vars(box), "store": RunStore(s3.client(gate), BUCKET, "demo", at_once=1)})
    voice = Voice(box, sleep=lambda _: None)
    keeper = Keeper(box, voice)

    def look() -> None:
        keeper.hurry()
        keeper.look()
        keeper._running and keeper._running.exception()
        keeper.look()
        keeper.finish()

    down[0] = True
    (box.paths.checkpoints / "step-00000002.ckpt").write_bytes(b"two")
    box.update(fresh_at=box.load().fresh_at - 301)
    for _ in range(3):
        look()
    status = Status.model_validate_json(s3.objects[box.store.layout.status])
    assert status.health is Health.STALE
    assert "checkpoints/" in status.health_reason
    down[0] = False
    look()
    look()
    assert Status.model_validate_json(s3.objects[box.store.layout.status]).health is Health.OK
    voice.drain()
    keeper.close()
    events = [
        Event.model_validate_json(s3.objects[key]) for key in sorted(s3.objects) if box.store.layout.events in key
    ]
    assert [event.kind for event in events] == ["test", "stalled sync", "sync healed"]


def test_sagemaker_1040_an_interruption_does_not_start_from_scratch(tmp_path: Path) -> None:
    """Every interruption restarted the training from scratch."""
    live(tmp_path, "i-1", checkpoints=3, finish=False)
    with pytest.raises(Crash):
        die(tmp_path, "i-2", "manifest.before")
    from contract import failpoints

    failpoints.armed = ""
    assert live(tmp_path, "i-3", checkpoints=1, finish=False) == 3


def test_skypilot_8519_the_end_waits_for_the_uploads(make_box: MakeBox, s3: Any) -> None:
    """`down` did not wait for uploads: the word `done` comes after everything it promises."""
    box = make_box("i-1", trainer(20))
    written: list[str] = []
    register = box.store._objects._s3.meta.events.register
    for operation in ("PutObject", "UploadPart"):
        register(f"before-parameter-build.s3.{operation}", lambda params, **_: written.append(params["Key"]))
    assert agent(box).run() == 0
    model = [written.index(box.store.layout.model + name) for name in ("model.keras", "manifest.json")]
    last_checkpoint = max(n for n, key in enumerate(written) if key.startswith(box.store.layout.checkpoints))
    last_status = max(n for n, key in enumerate(written) if key == box.store.layout.status)
    assert last_checkpoint < model[0] < model[1] < last_status
    assert status_of(s3).phase is Phase.DONE


def test_terraform_provider_iterative_482_a_run_without_results_is_not_done(make_box: MakeBox, s3: Any) -> None:
    """`destroy` downloaded 0 files and called that a success."""
    nothing = TRAINER.replace('(model / "model.keras").write_text("model")', "")
    assert agent(make_box("i-1", ("python", "-c", nothing, "10"))).run() == 6
    status = status_of(s3)
    assert status.phase is Phase.FAILED
    assert "left no model" in status.reason


def test_terraform_provider_iterative_a_failed_restore_erases_nothing(make_box: MakeBox, s3: Any) -> None:
    """A failed restore left an empty folder, and the mirror then emptied the remote."""
    assert agent(make_box("i-1", trainer(30))).run() == 0
    layout = make_box("i-unused").store.layout
    s3.delete_object(Bucket=BUCKET, Key=layout.status)
    latest = Latest.model_validate_json(s3.get_object(Bucket=BUCKET, Key=layout.latest)["Body"].read())
    for checkpoint in latest.kept:
        s3.put_object(Bucket=BUCKET, Key=layout.checkpoint_manifest(checkpoint), Body=b"?")
    before = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix=layout.checkpoints)["Contents"]]
    second = make_box("i-2", trainer(30))
    assert agent(second).run() == 6
    assert not list(second.paths.checkpoints.iterdir())
    after = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix=layout.checkpoints)["Contents"]]
    assert after == before
    assert "none of the" in status_of(s3).reason
    assert "training" not in [event.kind for event in events_of(s3) if event.instance == "i-2"]


def test_an_emptied_folder_is_not_mirrored(tmp_path: Path) -> None:
    live(tmp_path, "i-1", checkpoints=2, finish=False)
    box = box_in(tmp_path, "i-1")
    for path in box.paths.checkpoints.iterdir():
        path.unlink()
    before = box.load().checkpoint
    assert sync(box).checkpoint == before
    assert live(tmp_path, "i-2", checkpoints=1, finish=False) == 2


def test_nimbo_21_half_written_files_are_not_synced(tmp_path: Path) -> None:
    """Temporary files were uploaded while they were being written."""
    live(tmp_path, "i-1", checkpoints=1, finish=False)
    box = box_in(tmp_path, "i-1")
    for name in (".step-00000002.ckpt", "step-00000002.ckpt.tmp", "step-00000002.ckpt.part"):
        (box.paths.checkpoints / name).write_bytes(b"half")
    assert sync(box).checkpoint_step == 1
    restored = box_in(tmp_path, "i-2").paths.checkpoints
    assert live(tmp_path, "i-2", checkpoints=0, finish=False) == 1
    assert [path.name for path in restored.iterdir()] == ["step-00000001.ckpt"]


def test_nimbo_21_a_file_that_grows_while_it_is_uploaded_is_not_committed(tmp_path: Path) -> None:
    live(tmp_path, "i-1", checkpoints=1, finish=False)
    box = box_in(tmp_path, "i-1")
    path = box.paths.checkpoints / "step-00000002.ckpt"
    path.write_bytes(b"half")
    upload = box.store._objects.upload

    def grow(*arguments: Any) -> None:
        upload(*arguments)
        with path.open("ab") as file:
            file.write(b" and the rest")

    box.store._objects.upload = grow  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="changed while"):
        sync(box)
    box.store._objects.upload = upload  # type: ignore[method-assign]
    assert sync(box).checkpoint_step == 2


def test_aws_cli_1074_and_3273_a_changed_file_of_the_same_size_is_synced(tmp_path: Path) -> None:
    """`aws s3 sync` compares sizes and whole seconds, and skips it."""
    live(tmp_path, "i-1", checkpoints=1, finish=False)
    box = box_in(tmp_path, "i-1")
    path = box.paths.checkpoints / "last.ckpt"
    path.write_bytes(b"one")
    first = sync(box).checkpoint
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    second = sync(box).checkpoint
    assert second != first
    key = box.store.layout.checkpoint(second) + "last.ckpt"
    assert box.store._objects._s3._s3.objects[key] == b"two"  # type: ignore[attr-defined]
