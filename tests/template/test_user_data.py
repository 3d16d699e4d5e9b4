"""What cloud-init is given: variables, then the script, and nothing that only a laptop knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra import permissions_page as page

NAMES = ["RUN", "BUCKET", "BUNDLE", "DATA", "REGION", "DEADMAN_MINUTES", "STOP_AT", "MAX_PRICE", "TOPIC"]
LIMIT_BYTES = 16 * 1024


def rendered(template: dict[str, Any]) -> str:
    encoded = template["Resources"]["BoxTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]
    text: str = page.readable(encoded["Fn::Base64"])
    return text


def variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"^export ([A-Z_]+)='?([^'\n]*)'?$", text, flags=re.MULTILINE))


def test_it_starts_as_a_bash_script(closed: dict[str, Any]) -> None:
    assert rendered(closed).startswith("#!/bin/bash\nexport RUN=demo\n")


def test_it_ends_with_the_script_of_the_bootstrap_room(closed: dict[str, Any]) -> None:
    script = (page.HOME / "bootstrap/user_data.sh").read_text(encoding="utf-8")
    assert rendered(closed).endswith(script.removeprefix("#!/bin/bash\n"))


def test_it_exports_every_variable_in_order(closed: dict[str, Any]) -> None:
    assert re.findall(r"^export ([A-Z_]+)=", rendered(closed), flags=re.MULTILINE)[: len(NAMES)] == NAMES


def test_the_dead_man_timer_is_the_allowed_time_rounded_up_to_minutes(synthesise: Any) -> None:
    assert variables(rendered(synthesise(max_usd="1", max_price_per_hour="0.526")))["DEADMAN_MINUTES"] == "115"


def test_the_box_knows_the_deadline_of_the_group(closed: dict[str, Any]) -> None:
    assert variables(rendered(closed))["STOP_AT"] == "<StopAt>"


def test_the_topic_is_empty_unless_there_is_one(closed: dict[str, Any], opened: dict[str, Any]) -> None:
    assert variables(rendered(closed))["TOPIC"] == ""
    assert variables(rendered(opened))["TOPIC"] == "<NotifyTopic>"


def test_data_is_a_zip_or_the_prefix(closed: dict[str, Any], from_s3: dict[str, Any]) -> None:
    assert variables(rendered(closed))["DATA"].endswith(".zip")
    assert variables(rendered(from_s3))["DATA"] == "s3://your-bucket/signs/"


@pytest.mark.parametrize("variant", ["closed", "opened", "from_s3"])
def test_it_is_shellcheck_clean(variant: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    script = tmp_path / "user-data.sh"
    script.write_text(rendered(request.getfixturevalue(variant)), encoding="utf-8")
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("variant", ["closed", "opened", "from_s3"])
def test_it_fits_into_what_ec2_accepts(variant: str, request: pytest.FixtureRequest) -> None:
    assert len(rendered(request.getfixturevalue(variant)).encode()) < LIMIT_BYTES * 3 // 4
