"""docs/schemas has one file for each command that is named in `cli.schemas`, and each is up to date."""

from __future__ import annotations

import json

import jsonschema
import pytest

from cli.schemas import FOLDER, MODELS, text_of


@pytest.mark.parametrize("command", MODELS)
def test_the_committed_schema_is_the_models(command: str) -> None:
    committed = (FOLDER / f"{command}.json").read_text() if (FOLDER / f"{command}.json").exists() else "missing"
    assert committed == text_of(command), "give: python -m cli.schemas"


def test_no_file_is_of_no_command() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(MODELS)


@pytest.mark.parametrize("command", MODELS)
def test_each_is_a_schema(command: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(text_of(command)))
