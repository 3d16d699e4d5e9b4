"""Code and data are named by their content: what did not change is not uploaded again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ASSET = {"ReadCode": "BUNDLE", "ReadData": "DATA"}


def key_of(template: dict[str, Any], sid: str) -> str:
    """Where the statement's object is, as it stands in the template."""
    for resource in template["Resources"].values():
        for statement in resource.get("Properties", {}).get("PolicyDocument", {}).get("Statement", []):
            if statement.get("Sid") == sid:
                key: str = statement["Resource"]["Fn::Join"][1][-1]
                return key
    raise AssertionError(sid)


@pytest.mark.parametrize("sid", sorted(ASSET))
def test_the_box_is_sent_to_the_very_object_it_may_read(closed: dict[str, Any], sid: str) -> None:
    user_data = json.dumps(closed["Resources"]["BoxTemplate"])
    assert key_of(closed, sid) in user_data


def test_code_and_data_are_different_objects(closed: dict[str, Any]) -> None:
    assert key_of(closed, "ReadCode") != key_of(closed, "ReadData")


def test_a_copy_of_the_dataset_has_the_same_key(
    closed: dict[str, Any], dataset: Path, tmp_path: Path, synthesise: Any
) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    os.utime(copy / "a.npy", (0, 0))
    assert key_of(synthesise(**{"data.path": str(copy)}), "ReadData") == key_of(closed, "ReadData")


def test_another_dataset_has_another_key(
    closed: dict[str, Any], dataset: Path, tmp_path: Path, synthesise: Any
) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    (copy / "a.npy").write_bytes(b"other keypoints")
    assert key_of(synthesise(**{"data.path": str(copy)}), "ReadData") != key_of(closed, "ReadData")


def test_where_the_dataset_lies_does_not_change_the_code(
    closed: dict[str, Any], dataset: Path, tmp_path: Path, synthesise: Any
) -> None:
    moved = shutil.copytree(dataset, tmp_path / "moved")
    assert key_of(synthesise(**{"data.path": str(moved)}), "ReadCode") == key_of(closed, "ReadCode")


def test_other_settings_make_another_code_bundle(closed: dict[str, Any], synthesise: Any) -> None:
    assert key_of(synthesise(epochs="7"), "ReadCode") != key_of(closed, "ReadCode")
