from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from cli.fetch import fetch_model, run_bucket
from contract.errors import CloudError, StorageError
from contract.status import Manifest, ManifestFile

FILES = {"best_model.keras": b"weights" * 1000, "labels.json": b'["hello"]', "plots/loss.png": b"png"}


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
    assert {name: (tmp_path / "model" / name).read_bytes() for name in names(tmp_path / "model")} == FILES


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
