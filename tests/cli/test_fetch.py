from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody
from rich.console import Console
from typer.testing import CliRunner

from cli.download import AGAIN, inside
from cli.fetch import Fetched, fetch_model, fetch_run, run_bucket
from cli.main import app
from contract.errors import CloudError, StorageError
from contract.status import Latest, Manifest, ManifestFile, Phase
from tests.cli.runs import REPORT, put_checkpoint, put_training
from tests.cli.schemas import check

FILES = {"model.keras": b"weights" * 1000, "labels.json": b'["hello"]', "plots/loss.png": b"png"}


def put_model(s3: Any, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        s3.put_object(Bucket="bucket", Key=f"runs/demo/model/{name}", Body=body)
    listed = tuple(
        ManifestFile(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest()) for name, body in files.items()
    )
    manifest = Manifest(id="model", step=7, epoch=1, instance="i-1", time=datetime.now(UTC), files=listed)
    s3.put_object(Bucket="bucket", Key="runs/demo/model/manifest.json", Body=manifest.model_dump_json())


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_file_comes_home_as_it_was(s3: Any, tmp_path: Path) -> None:
    put_model(s3, FILES)
    assert fetch_model(s3, "bucket", "demo", tmp_path / "model").step == 7
    assert names(tmp_path / "model") == {*FILES, "manifest.json"}
    assert {name: (tmp_path / "model" / name).read_bytes() for name in FILES} == FILES


def test_asking_again_fetches_only_what_is_missing_or_changed(s3: Any, tmp_path: Path) -> None:
    put_model(s3, FILES)
    fetch_model(s3, "bucket", "demo", tmp_path)
    (tmp_path / "labels.json").write_text("edited")
    (tmp_path / "plots/loss.png").unlink()
    asked: list[str] = []
    s3.meta.events.register("provide-client-params.s3.GetObject", lambda params, **_: asked.append(params["Key"]))
    fetch_model(s3, "bucket", "demo", tmp_path)
    assert {key.removeprefix("runs/demo/model/") for key in asked} == {"manifest.json", "labels.json", "plots/loss.png"}
    assert (tmp_path / "labels.json").read_bytes() == FILES["labels.json"]


def test_a_file_that_does_not_verify_is_refused_and_not_left_behind(s3: Any, tmp_path: Path) -> None:
    put_model(s3, FILES)
    s3.put_object(Bucket="bucket", Key="runs/demo/model/labels.json", Body=b'["hullo"]')
    with pytest.raises(StorageError, match=r"labels\.json does not verify"):
        fetch_model(s3, "bucket", "demo", tmp_path)
    assert "labels.json" not in names(tmp_path)
    assert not [name for name in names(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("name", ["", "..", "../x", "/x", "a/../../x", "link", "link/x"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/link").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="outside"):
        inside(tmp_path / "home", name)


@pytest.mark.parametrize("name", ["x", "..x", "a/b", "a/../x"])
def test_other_names_stay_inside(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


def test_a_name_that_leads_out_of_the_folder_is_refused(s3: Any, tmp_path: Path) -> None:
    put_model(s3, {"../evil": b"x"})
    with pytest.raises(StorageError, match="outside"):
        fetch_model(s3, "bucket", "demo", tmp_path / "model")
    assert not (tmp_path / "evil").exists()


def test_a_run_that_is_not_done_says_so(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no finished model"):
        fetch_model(s3, "bucket", "demo", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_unknown_run_names_what_to_check(s3: Any) -> None:
    with pytest.raises(CloudError) as caught:
        run_bucket(boto3.client("cloudformation"), "nosuch")
    assert "AWS_REGION" in str(caught.value)


def test_a_stack_that_is_not_whole_is_told_with_its_state(s3: Any) -> None:
    body = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    boto3.client("cloudformation").create_stack(StackName="signspot-half", TemplateBody=json.dumps(body))
    with pytest.raises(CloudError, match=r"is CREATE_COMPLETE and has no outputs yet[\s\S]*signspot destroy half"):
        run_bucket(boto3.client("cloudformation"), "half")


def put_pack(s3: Any, files: dict[str, bytes]) -> None:
    """A model of small files in one pack."""
    pack, listed = b"", []
    for name, body in files.items():
        file = ManifestFile(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest())
        listed.append(file.model_copy(update={"pack": ".packs/00000", "offset": len(pack)}))
        pack += body
    s3.put_object(Bucket="bucket", Key="runs/demo/model/.packs/00000", Body=pack)
    manifest = Manifest(id="model", step=7, epoch=1, instance="i-1", time=datetime.now(UTC), files=tuple(listed))
    s3.put_object(Bucket="bucket", Key="runs/demo/model/manifest.json", Body=manifest.model_dump_json())


def ranges(s3: Any) -> list[str]:
    """The ranges asked for from now on."""
    asked: list[str] = []

    def note(params: dict[str, Any], **_: object) -> None:
        if "Range" in params:
            asked.append(params["Range"])

    s3.meta.events.register("provide-client-params.s3.GetObject", note)
    return asked


def test_files_come_out_of_a_pack_and_only_the_missing_are_asked_for(s3: Any, tmp_path: Path) -> None:
    files = {f"{number}/shard": bytes([number]) * number for number in range(10)}
    put_pack(s3, files)
    asked = ranges(s3)
    fetch_model(s3, "bucket", "demo", tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    (tmp_path / "2/shard").unlink()
    (tmp_path / "4/shard").write_bytes(b"edited")
    fetch_model(s3, "bucket", "demo", tmp_path)
    assert asked == ["bytes=0-44", "bytes=1-9"]
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_a_pack_that_ends_too_early_does_not_verify(s3: Any, tmp_path: Path) -> None:
    put_pack(s3, {"a": b"aaaa", "b": b"bbbb"})
    s3.put_object(Bucket="bucket", Key="runs/demo/model/.packs/00000", Body=b"aaaab")
    with pytest.raises(StorageError, match="b does not verify"):
        fetch_model(s3, "bucket", "demo", tmp_path)
    assert names(tmp_path) == {"a"}


LARGE = bytes(range(256)) * 4 * 1024 * 20  # 20 MiB: three parts


def test_a_large_file_cut_short_goes_on_from_where_it_ended(s3: Any, tmp_path: Path) -> None:
    put_model(s3, {"model.keras": LARGE})
    asked = ranges(s3)

    def cut(params: dict[str, Any], **_: object) -> None:
        if params.get("Range", "").startswith("bytes=16777216-"):
            s3.meta.events.unregister("provide-client-params.s3.GetObject", cut)
            raise KeyboardInterrupt

    s3.meta.events.register("provide-client-params.s3.GetObject", cut)
    with pytest.raises(KeyboardInterrupt):
        fetch_model(s3, "bucket", "demo", tmp_path)
    assert not (tmp_path / "model.keras").exists()
    asked.clear()
    fetch_model(s3, "bucket", "demo", tmp_path)
    assert asked == ["bytes=16777216-20971519"]
    assert (tmp_path / "model.keras").read_bytes() == LARGE
    assert names(tmp_path) == {"model.keras", "manifest.json"}


def test_a_part_whose_answer_breaks_off_is_asked_for_once_more(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(s3, {"model.keras": LARGE})
    asked, whole, breaks = ranges(s3), StreamingBody.iter_chunks, iter([True])

    def break_off(body: StreamingBody, size: int) -> Iterator[bytes]:
        for number, chunk in enumerate(whole(body, size)):
            if number == 1 and next(breaks, False):
                raise ResponseStreamingError(error="connection reset")
            yield chunk

    monkeypatch.setattr(StreamingBody, "iter_chunks", break_off)
    monkeypatch.setattr(AGAIN, "sleep", lambda _: None)
    fetch_model(s3, "bucket", "demo", tmp_path)
    assert len(asked) == 4 and len(set(asked)) == 3
    assert (tmp_path / "model.keras").read_bytes() == LARGE


def test_what_was_kept_of_a_large_file_is_given_up_where_it_does_not_fit(s3: Any, tmp_path: Path) -> None:
    put_model(s3, {"model.keras": LARGE})
    digest = hashlib.sha256(LARGE).hexdigest()[:16]
    (tmp_path / f".model.keras.{digest}.part").write_bytes(b"?" + LARGE[1:100])
    fetch_model(s3, "bucket", "demo", tmp_path)
    assert (tmp_path / "model.keras").read_bytes() == LARGE
    s3.put_object(Bucket="bucket", Key="runs/demo/model/model.keras", Body=LARGE[:-1])
    (tmp_path / "model.keras").unlink()
    with pytest.raises(StorageError, match=r"model\.keras does not verify"):
        fetch_model(s3, "bucket", "demo", tmp_path)
    assert names(tmp_path) == {"manifest.json"}


# --- a whole run ------------------------------------------------------------------------------------------


def fetch_all(s3: Any, folder: Path) -> tuple[Fetched, str]:
    told: list[str] = []
    fetched = fetch_run(s3, "bucket", "demo", folder, None, lambda who, what: told.append(what))
    return fetched, "\n".join(told)


def test_a_whole_run_comes_home(s3: Any, tmp_path: Path) -> None:
    put_training(s3, "bucket", phase=Phase.DONE)
    put_model(s3, FILES)
    fetched, told = fetch_all(s3, tmp_path)
    assert [one.id for one in fetched.checkpoints] == ["3-c", "1-a"]
    assert (tmp_path / "checkpoints/1-a/state.npz").read_bytes() == b"state1-a"
    assert not (tmp_path / "checkpoints/2-b").exists()
    assert (tmp_path / "logs/i-1/trainer.log").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "logs/i-1/boot.log").read_bytes() == b"booted\n"
    events = [json.loads(line)["kind"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events == ["booting", "training"]
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"] == {"loss": 0.5}
    assert json.loads((tmp_path / "status.json").read_text())["phase"] == "done"
    assert (tmp_path / "model/model.keras").read_bytes() == FILES["model.keras"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == REPORT
    assert fetched.notes == []
    assert told.count("every hash verified") == 3
    fetched.verify()


@pytest.mark.parametrize("phase", [Phase.TRAINING, Phase.FAILED])
def test_a_run_whose_box_left_no_report_says_what_writes_one(phase: Phase, s3: Any, tmp_path: Path) -> None:
    put_training(s3, "bucket", phase=phase)
    s3.delete_object(Bucket="bucket", Key="runs/demo/report.html")
    fetched, _ = fetch_all(s3, tmp_path)
    assert not (tmp_path / "report.html").exists()
    assert any("signspot report demo" in note for note in fetched.notes) == phase.final


def test_a_terminal_shows_how_far_it_is(s3: Any, tmp_path: Path) -> None:
    put_model(s3, FILES)
    shown = {}
    for force in (True, False):
        console = Console(file=io.StringIO(), force_terminal=force, width=80)
        fetch_run(s3, "bucket", "demo", tmp_path / str(force), console, lambda who, what: None)
        shown[force] = console.file.getvalue()  # type: ignore[attr-defined]
    assert "model" in shown[True]
    assert "7.0/7.0 kB" in shown[True]
    assert shown[False] == ""


@pytest.mark.parametrize("only", ["all", "model"])
def test_json_is_one_object_and_the_rest_goes_to_stderr(s3: Any, tmp_path: Path, only: str) -> None:
    body = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, "Outputs": {"Bucket": {"Value": "bucket"}}}
    boto3.client("cloudformation").create_stack(StackName="signspot-demo", TemplateBody=json.dumps(body))
    put_training(s3, "bucket", phase=Phase.DONE)
    put_model(s3, FILES)
    shown = CliRunner().invoke(app, ["fetch", "demo", "--to", str(tmp_path), "--only", only, "--json"])
    assert shown.exit_code == 0
    said = check("fetch", shown.stdout)
    size = sum(map(len, FILES.values()))
    folder = tmp_path / "demo"
    assert said["folder"] == str(folder)
    assert said["model"] == {"folder": str(folder / "model"), "step": 7, "files": 3, "bytes": size}
    whole = only == "all"
    assert [Path(one["folder"]).name for one in said["checkpoints"]] == (["3-c", "1-a"] if whole else [])
    assert said["report"] == (str(folder / "report.html") if whole else None)
    assert (said["phase"], said["logs"], said["events"]) == (("done", 2, 2) if whole else (None, 0, 0))
    assert "every hash verified" in shown.stderr


def test_what_changed_on_this_disk_is_noticed(s3: Any, tmp_path: Path) -> None:
    put_training(s3, "bucket")
    fetched, _ = fetch_all(s3, tmp_path)
    (tmp_path / "checkpoints/1-a/state.npz").write_bytes(b"other")
    with pytest.raises(StorageError, match="does not verify"):
        fetched.verify()


def test_a_broken_newest_checkpoint_is_told_and_the_one_before_it_comes(s3: Any, tmp_path: Path) -> None:
    put_training(s3, "bucket")
    s3.put_object(Bucket="bucket", Key="runs/demo/checkpoints/3-c/state.npz", Body=b"torn")
    fetched, _ = fetch_all(s3, tmp_path)
    assert [one.id for one in fetched.checkpoints] == ["2-b", "1-a"]
    assert any("3-c is not whole in S3" in note for note in fetched.notes)


def test_a_gap_in_a_log_is_told(s3: Any, tmp_path: Path) -> None:
    put_training(s3, "bucket")
    s3.delete_object(Bucket="bucket", Key="runs/demo/logs/i-1/trainer/000000000000.log")
    fetched, _ = fetch_all(s3, tmp_path)
    assert any("log i-1/trainer.log" in note for note in fetched.notes)


def test_an_empty_bucket_is_told_and_no_error(s3: Any, tmp_path: Path) -> None:
    fetched, told = fetch_all(s3, tmp_path)
    assert names(tmp_path) == set()
    assert told == f"0 logs, 0 events in {tmp_path}"
    assert fetched.notes == ["there is no model: the run is pending, not done", "no checkpoint was ever committed"]


@pytest.mark.parametrize("name", ["../../evil", "/evil"])
def test_a_checkpoint_whose_name_leads_out_is_refused(s3: Any, tmp_path: Path, name: str) -> None:
    put_checkpoint(s3, "bucket", name, 3)
    latest = Latest(epoch=1, checkpoints=(name,))
    s3.put_object(Bucket="bucket", Key="runs/demo/LATEST", Body=latest.model_dump_json())
    with pytest.raises(StorageError, match="outside"):
        fetch_all(s3, tmp_path / "home")
    assert [path.name for path in tmp_path.iterdir()] in ([], ["home"])


def test_a_log_whose_name_leads_out_is_refused(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket="bucket", Key="runs/demo/logs/../../000000000000.log", Body=b"x")
    with pytest.raises(StorageError, match="outside"):
        fetch_all(s3, tmp_path / "home")
