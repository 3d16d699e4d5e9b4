from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fake_s3 import FakeS3

from bootstrap.snapshot import sha256_of, snapshot
from bootstrap.store import RunStore
from contract.errors import StaleLease, StorageError
from contract.status import Latest, Lease, Manifest, Phase, Status

BUCKET = "bucket"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def commit(store: RunStore, lease: Lease, folder: Path, step: int, keep: int = 3) -> Manifest:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("step-*"):
        old.unlink()
    (folder / f"step-{step:08d}.ckpt").write_bytes(b"weights" * step)
    (folder / "config.json").write_text(f'{{"step": {step}}}')
    with snapshot(folder, folder.parent / "staging") as files:
        return store.commit_checkpoint(files, step, lease, keep)


def names(s3: Any, prefix: str) -> set[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {item["Key"].removeprefix(prefix) for item in found}


def test_what_is_committed_is_restored(store: RunStore, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    manifest = commit(store, lease, tmp_path / "ck", 7)
    restored, complaints = store.restore(tmp_path / "new")
    assert restored == manifest
    assert not complaints
    assert (tmp_path / "new/step-00000007.ckpt").read_bytes() == b"weights" * 7
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["config.json", "step-00000007.ckpt"]


MANY = {f"{number % 3}/{number}.bin": bytes([number]) * number for number in range(40)} | {"large": b"x" * (2 << 20)}


def commit_many(store: RunStore, lease: Lease, folder: Path, step: int) -> Manifest:
    for name, content in MANY.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with snapshot(folder, folder.parent / "staging") as files:
        return store.commit_checkpoint(files, step, lease, 3)


def test_many_small_files_are_few_objects_and_come_back(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    manifest = commit_many(store, lease, tmp_path / "ck", 7)
    held = names(s3, store.layout.checkpoint(manifest.id))
    assert held == {".packs/00000", "large", "manifest.json"}
    restored, complaints = store.restore(tmp_path / "new")
    assert (restored, complaints) == (manifest, [])
    assert {name: (tmp_path / "new" / name).read_bytes() for name in MANY} == MANY
    assert commit_many(store, lease, tmp_path / "ck", 7) == manifest, "committed twice"


@pytest.mark.parametrize("damage", ["corrupt", "truncate", "delete"])
def test_a_damaged_pack_gives_way_to_the_checkpoint_before(
    store: RunStore, s3: Any, tmp_path: Path, damage: str
) -> None:
    lease = store.take_lease("i-1", NOW)
    first = commit_many(store, lease, tmp_path / "ck", 1)
    second = commit_many(store, lease, tmp_path / "ck", 2)
    key = store.layout.checkpoint(second.id) + ".packs/00000"
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    if damage == "delete":
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body[:-3] if damage == "truncate" else b"?" + body[1:])
    restored, complaints = store.restore(tmp_path / "new")
    assert restored == first
    assert second.id in complaints[0]


def test_a_file_of_more_than_one_part_comes_back(store: RunStore, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    (tmp_path / "ck").mkdir()
    content = bytes(range(256)) * (9 << 12)
    (tmp_path / "ck/step-1.ckpt").write_bytes(content)
    with snapshot(tmp_path / "ck", tmp_path / "staging") as files:
        store.commit_checkpoint(files, 1, lease, 3)
    store.restore(tmp_path / "new")
    assert (tmp_path / "new/step-1.ckpt").read_bytes() == content


def test_a_status_over_ones_own_is_one_request(store: RunStore, s3: Any) -> None:
    lease = store.take_lease("i-1", NOW)
    etag = store.write_status(Status(run="demo", phase=Phase.TRAINING, heartbeat=NOW), lease)
    asked: list[str] = []
    s3.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.method))
    etag = store.write_status(Status(run="demo", phase=Phase.TRAINING, heartbeat=NOW, attempts=2), lease, etag)
    assert asked == ["PUT"]
    assert store.write_status(Status(run="demo", phase=Phase.DONE, heartbeat=NOW), lease, etag) == ""


def test_a_zombie_that_knows_its_own_status_does_not_write_over_its_successors(store: RunStore) -> None:
    old = store.take_lease("i-old", NOW)
    etag = store.write_status(Status(run="demo", phase=Phase.TRAINING, heartbeat=NOW, epoch=1), old)
    new = store.take_lease("i-new", NOW)
    theirs = Status(run="demo", phase=Phase.BOOTING, heartbeat=NOW, epoch=2)
    store.write_status(theirs, new)
    with pytest.raises(StaleLease):
        store.write_status(Status(run="demo", phase=Phase.TRAINING, heartbeat=NOW, epoch=1), old, etag)
    assert store.read_status() == theirs


def test_nothing_committed_is_nothing_to_restore(store: RunStore, tmp_path: Path) -> None:
    store.take_lease("i-1", NOW)
    assert store.restore(tmp_path) == (None, [])


def test_only_the_newest_are_kept(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    ids = [commit(store, lease, tmp_path / "ck", step, keep=2).id for step in (1, 2, 3, 4)]
    left = {name.split("/")[0] for name in names(s3, store.layout.checkpoints)}
    assert left == set(ids[-2:])


@pytest.mark.parametrize("damage", ["corrupt", "truncate", "delete"])
@pytest.mark.parametrize("file", ["step-00000002.ckpt", "config.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    store: RunStore, s3: Any, tmp_path: Path, damage: str, file: str
) -> None:
    lease = store.take_lease("i-1", NOW)
    first = commit(store, lease, tmp_path / "ck", 1)
    second = commit(store, lease, tmp_path / "ck", 2)
    key = store.layout.checkpoint(second.id) + file
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    if damage == "delete":
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body[:-3] if damage == "truncate" else b"?" + body[1:])
    restored, complaints = store.restore(tmp_path / "new")
    assert restored == first
    assert len(complaints) == 1
    assert second.id in complaints[0]
    assert not [path for path in (tmp_path / "new").iterdir() if path.name == "step-00000002.ckpt"]


def test_when_no_checkpoint_verifies_the_run_does_not_start_from_zero(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    only = commit(store, lease, tmp_path / "ck", 1)
    s3.delete_object(Bucket=BUCKET, Key=store.layout.checkpoint_manifest(only.id))
    with pytest.raises(StorageError, match="none of the 1 checkpoints"):
        store.restore(tmp_path / "new")


def test_a_restore_that_cannot_read_s3_fails_closed(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    commit(store, lease, tmp_path / "ck", 1)

    def refuse(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="s3")

    s3.meta.events.register("before-send.s3.GetObject", refuse)
    with pytest.raises(StorageError, match="cannot read"):
        store.restore(tmp_path / "new")


def test_a_first_checkpoint_that_latest_does_not_name_yet_is_found(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    manifest = commit(store, lease, tmp_path / "ck", 5)
    s3.put_object(Bucket=BUCKET, Key=store.layout.latest, Body=Latest(epoch=1).model_dump_json())
    newer = store.take_lease("i-2", NOW)
    assert store.clear_unfinished(newer) == []
    restored, _ = store.restore(tmp_path / "new")
    assert restored is not None
    assert restored.id == manifest.id
    store.settle(manifest.id, newer)
    latest = Latest.model_validate_json(s3.get_object(Bucket=BUCKET, Key=store.layout.latest)["Body"].read())
    assert latest.checkpoints == (manifest.id,)


def test_each_owner_has_a_higher_epoch(store: RunStore) -> None:
    assert [store.take_lease(f"i-{n}", NOW).epoch for n in range(3)] == [1, 2, 3]


def test_a_zombie_commits_nothing(store: RunStore, s3: Any, tmp_path: Path) -> None:
    old = store.take_lease("i-old", NOW)
    commit(store, old, tmp_path / "ck", 1)
    new = store.take_lease("i-new", NOW)
    with pytest.raises(StaleLease, match="i-new has taken it over"):
        commit(store, old, tmp_path / "ck", 9)
    assert commit(store, new, tmp_path / "ck", 2).parent.startswith("0000000001")


def test_a_zombie_caught_between_its_manifest_and_latest_commits_nothing(
    store: RunStore, s3: Any, tmp_path: Path
) -> None:
    old = store.take_lease("i-old", NOW)
    first = commit(store, old, tmp_path / "ck", 1)

    def overtaken(params: dict[str, Any], **_: object) -> None:
        if params["Key"].endswith("manifest.json"):
            s3.meta.events.unregister("provide-client-params.s3.PutObject", overtaken)
            store.take_lease("i-new", NOW)

    s3.meta.events.register("provide-client-params.s3.PutObject", overtaken)
    with pytest.raises(StaleLease):
        commit(store, old, tmp_path / "ck", 9)
    restored, _ = store.restore(tmp_path / "new")
    assert restored is not None
    assert restored.id == first.id
    unfinished = store.clear_unfinished(store.take_lease("i-newest", NOW))
    assert [name[:10] for name in unfinished] == ["0000000009"]


def test_a_lost_race_for_the_lease_is_run_again(store: RunStore, s3: Any) -> None:
    other = RunStore(s3, BUCKET, "demo")

    def race(params: dict[str, Any], **_: object) -> None:
        s3.meta.events.unregister("provide-client-params.s3.PutObject", race)
        other.take_lease("i-first", NOW)

    s3.meta.events.register("provide-client-params.s3.PutObject", race)
    lease = store.take_lease("i-second", NOW)
    assert lease.epoch == 2
    store.assert_lease(lease)


def test_an_unfinished_upload_is_never_restored_and_is_cleared(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    first = commit(store, lease, tmp_path / "ck", 1)
    s3.put_object(Bucket=BUCKET, Key=store.layout.checkpoint("0000000002-dead") + "half.ckpt", Body=b"half")
    restored, _ = store.restore(tmp_path / "new")
    assert restored is not None
    assert restored.id == first.id
    assert store.clear_unfinished(lease) == ["0000000002-dead"]
    assert {name.split("/")[0] for name in names(s3, store.layout.checkpoints)} == {first.id}


def test_a_file_that_changes_while_it_is_uploaded_commits_nothing(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    folder = tmp_path / "ck"
    folder.mkdir()
    (folder / "step-1.ckpt").write_bytes(b"before")
    with snapshot(folder, tmp_path / "staging") as files:
        (folder / "step-1.ckpt").write_bytes(b"after it")
        with pytest.raises(StorageError, match="changed while"):
            store.commit_checkpoint(files, 1, lease, 3)
    assert store.restore(tmp_path / "new") == (None, [])


@pytest.mark.parametrize("small", [1, 20])
def test_a_set_is_hashed_while_it_is_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    """Each waits for the other to have begun."""
    hashing, uploading = threading.Event(), threading.Event()

    def hash_later(path: Path) -> str:
        hashing.set()
        assert uploading.wait(60), "nothing is uploaded before everything was hashed"
        return sha256_of(path)

    def gate(operation: str, key: str, request: Any) -> Any:
        if operation == "put" and "checkpoints/" in key:
            uploading.set()
            assert hashing.wait(60), "nothing is hashed before everything was uploaded"
        return request()

    monkeypatch.setattr("bootstrap.snapshot.sha256_of", hash_later)
    store = RunStore(FakeS3().client(gate), "bucket", "demo")  # type: ignore[arg-type]
    lease = store.take_lease("i-1", NOW)
    folder = tmp_path / "ck"
    folder.mkdir()
    for number in range(small):
        (folder / f"{number}").write_bytes(bytes([number]))
    with snapshot(folder, tmp_path / "staging") as files:
        manifest = store.commit_checkpoint(files, 1, lease, 3)
    assert {file.name: file.sha256 for file in manifest.files} == {
        f"{number}": hashlib.sha256(bytes([number])).hexdigest() for number in range(small)
    }
    assert store.restore(tmp_path / "new") == (manifest, [])


def test_a_small_file_that_becomes_shorter_meanwhile_commits_nothing(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    folder = tmp_path / "ck"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02d}").write_bytes(b"before")
    with snapshot(folder, tmp_path / "staging") as files:
        (folder / "07").write_bytes(b"aft")
        with pytest.raises(StorageError, match="07 became shorter"):
            store.commit_checkpoint(files, 1, lease, 3)
    assert not names(s3, store.layout.checkpoints)
    assert store.restore(tmp_path / "new") == (None, [])


def test_a_file_that_changes_while_it_is_hashed_commits_nothing(
    store: RunStore, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = store.take_lease("i-1", NOW)
    folder = tmp_path / "ck"
    folder.mkdir()
    (folder / "step-1.ckpt").write_bytes(b"before")
    uploaded = threading.Event()
    upload = store._objects.upload

    def then_tell(path: Path, key: str) -> None:
        upload(path, key)
        uploaded.set()

    def change(path: Path) -> str:
        assert uploaded.wait(60)
        (folder / "step-1.ckpt").write_bytes(b"after it")
        return sha256_of(path)

    monkeypatch.setattr(store._objects, "upload", then_tell)
    monkeypatch.setattr("bootstrap.snapshot.sha256_of", change)
    with snapshot(folder, tmp_path / "staging") as files, pytest.raises(StorageError, match="changed while"):
        store.commit_checkpoint(files, 1, lease, 3)
    assert not [name for name in names(s3, store.layout.checkpoints) if name.endswith("manifest.json")]
    assert store.restore(tmp_path / "new") == (None, [])


def test_a_refusal_names_the_permission_and_the_object(store: RunStore, s3: Any) -> None:
    def refuse(**_: object) -> None:
        message = "User is not authorized to perform: s3:GetObject on resource x"
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": message}}, "GetObject")

    s3.meta.events.register("before-send.s3.GetObject", refuse)
    with pytest.raises(StorageError) as caught:
        store.read_status()
    assert "s3:GetObject" in str(caught.value)
    assert "runs/demo/status.json" in str(caught.value)


def test_a_record_that_is_none_is_not_taken_for_missing(store: RunStore, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key=store.layout.status, Body=b"<html>")
    with pytest.raises(StorageError, match="is not a status"):
        store.read_status()


def test_a_stale_box_clears_nothing_of_its_successor(store: RunStore, s3: Any, tmp_path: Path) -> None:
    old = store.take_lease("i-old", NOW)
    commit(store, old, tmp_path / "ck", 1)
    committed: list[Manifest] = []

    def overtaken(**_: object) -> None:
        if not committed:
            other = RunStore(s3, BUCKET, "demo")
            committed.append(commit(other, other.take_lease("i-new", NOW), tmp_path / "new", 2))

    s3.meta.events.register("before-parameter-build.s3.ListObjectsV2", overtaken)
    with pytest.raises(StaleLease):
        store.clear_unfinished(old)
    restored, complaints = store.restore(tmp_path / "restored")
    assert restored == committed[0]
    assert not complaints


def test_what_did_not_verify_no_longer_takes_a_place_among_the_newest(store: RunStore, s3: Any, tmp_path: Path) -> None:
    lease = store.take_lease("i-1", NOW)
    first, second = (commit(store, lease, tmp_path / "ck", step, keep=2) for step in (1, 2))
    s3.delete_object(Bucket=BUCKET, Key=store.layout.checkpoint_manifest(second.id))
    store.settle(first.id, lease)
    third = commit(store, lease, tmp_path / "ck", 3, keep=2)
    latest = Latest.model_validate_json(s3.get_object(Bucket=BUCKET, Key=store.layout.latest)["Body"].read())
    assert latest.checkpoints == (third.id, first.id)


def test_a_final_phase_is_final(store: RunStore) -> None:
    lease = store.take_lease("i-1", NOW)
    done = Status(run="demo", phase=Phase.DONE, heartbeat=NOW)
    store.write_status(done, lease)
    store.write_status(Status(run="demo", phase=Phase.TRAINING, heartbeat=NOW), lease)
    assert store.read_status() == done


def test_a_zombie_cannot_write_over_its_successors_model(store: RunStore, s3: Any, tmp_path: Path) -> None:
    old = store.take_lease("i-old", NOW)
    committed: list[Manifest] = []

    def model(name: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.keras").write_text(name)
        return tmp_path / name

    def overtaken(params: dict[str, Any], **_: object) -> None:
        if params["Key"].endswith("model.keras") and not committed:
            s3.meta.events.unregister("provide-client-params.s3.PutObject", overtaken)
            new = store.take_lease("i-new", NOW)
            with snapshot(model("new"), tmp_path / "staging") as files:
                committed.append(store.commit_model(files, 9, new))

    s3.meta.events.register("provide-client-params.s3.PutObject", overtaken)
    with pytest.raises(StaleLease), snapshot(model("old"), tmp_path / "staging") as files:
        store.commit_model(files, 9, old)
    assert s3.get_object(Bucket=BUCKET, Key=store.layout.model + "model.keras")["Body"].read() == b"new"
    manifest = s3.get_object(Bucket=BUCKET, Key=store.layout.model_manifest)["Body"].read()
    assert Manifest.model_validate_json(manifest) == committed[0]


def test_what_could_not_be_deleted_is_deleted_by_the_next_commit(tmp_path: Path) -> None:
    s3, refuse = FakeS3(), [False]

    def gate(operation: str, key: str, request: Any) -> Any:
        if operation == "delete" and refuse[0]:
            raise EndpointConnectionError(endpoint_url="s3")
        assert operation != "list" or "checkpoints/0" in key, "nobody lists the history"
        return request()

    store = RunStore(s3.client(gate), "bucket", "demo", at_once=1)  # type: ignore[arg-type]
    lease = store.take_lease("i-1", datetime.now(UTC))
    folder = tmp_path / "ck"
    folder.mkdir()
    ids = []
    for step in range(1, 6):
        refuse[0] = step == 4
        (folder / "weights").write_text(str(step))
        with snapshot(folder, tmp_path / "staging") as files:
            ids.append(store.commit_checkpoint(files, step, lease, 2).id)
        present = {key.split("/")[3] for key in s3.objects if "checkpoints/" in key}
        assert present == set(ids[-3:] if step == 4 else ids[-2:])
