"""What a command printed with `--json`, against its committed schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from cli.schemas import FOLDER


def check(command: str, text: str) -> Any:
    """The object that was printed; fails the test when the committed schema does not allow it."""
    found = json.loads(text)
    schema = json.loads((FOLDER / f"{command}.json").read_text())
    jsonschema.validate(found, schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    return found
