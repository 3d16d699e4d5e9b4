"""The whole template, word by word: a change of it is seen in review.

Asset hashes and the text of `bootstrap/user_data.sh` are replaced by placeholders. After a
wanted change: `SIGNSPOT_GOLDEN=write pytest tests/template/test_golden.py`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SCRIPT = (HERE.parents[1] / "bootstrap/user_data.sh").read_text(encoding="utf-8").removeprefix("#!/bin/bash\n")


def normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"[0-9a-f]{64}", "<hash>", value.replace(SCRIPT, "<bootstrap/user_data.sh>"))
    return value


@pytest.mark.parametrize("variant", ["closed", "opened", "cluster"])
def test_the_template_is_the_one_that_was_reviewed(variant: str, request: pytest.FixtureRequest) -> None:
    golden = HERE / f"golden-{variant}.json"
    template = json.dumps(normal(request.getfixturevalue(variant)), indent=1) + "\n"
    if os.environ.get("SIGNSPOT_GOLDEN") == "write":
        golden.write_text(template, encoding="utf-8")
    assert template == golden.read_text(encoding="utf-8")
