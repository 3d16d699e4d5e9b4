"""cfn-lint, checkov and parliament: nothing is left unexplained, and each of them does see what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.audit import audit, write

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    write(folder)
    return folder


def said(folder: Path) -> dict[str, str]:
    """What each auditor that is not content says."""
    return {verdict.tool: verdict.said for verdict in audit(folder) if not verdict.ok}


def test_no_finding_is_left_unexplained(written: Path) -> None:
    assert said(written) == {}


def open_the_door(template: dict[str, Any]) -> None:
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0", "Description": "everybody"}
    template["Resources"]["Door"]["Properties"]["SecurityGroupIngress"] = [rule]


def misspell_a_property(template: dict[str, Any]) -> None:
    template["Resources"]["BoxGroup"]["Properties"]["MaxSise"] = "1"


def add_a_bucket_like_ours(template: dict[str, Any]) -> None:
    bucket = template["Resources"]["RunBucket"]
    template["Resources"]["Another"] = {key: value for key, value in bucket.items() if key != "Metadata"}


def misspell_an_action(policy: dict[str, Any]) -> None:
    policy["Statement"][0]["Action"] = "s3:GetObjekt"


def forget_where(policy: dict[str, Any]) -> None:
    policy["Statement"][0]["Resource"] = "arn:aws:sns:us-east-1:111122223333:somewhere-else"


WRONG: list[tuple[str, Change, str, str]] = [
    ("templates/opened.json", open_the_door, "checkov", "CKV_AWS_24"),
    ("templates/closed.json", misspell_a_property, "cfn-lint", "E3002"),
    ("templates/closed.json", add_a_bucket_like_ours, "checkov", "CKV_AWS_18"),
    ("policies/kept/BoxRoleDefaultPolicy*.json", misspell_an_action, "parliament", "UNKNOWN_ACTION"),
    ("policies/closed/BoxRoleDefaultPolicy*.json", forget_where, "parliament", "RESOURCE_MISMATCH"),
    ("policies/deploy/policy.json", misspell_an_action, "parliament", "deploy/policy.json"),
]


def test_everything_new_is_found_although_the_like_is_acknowledged_elsewhere(written: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(written, tmp_path / "audit")
    for file, change, _, _ in WRONG:
        (path,) = copy.glob(file)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    found = said(copy)
    assert [(tool, finding) for _, _, tool, finding in WRONG if finding not in found.get(tool, "")] == []
