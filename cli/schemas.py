"""`python -m cli.schemas`: writes docs/schemas/<command>.json, the JSON Schema of what a command's `--json` prints.

Enters: the pydantic models named below. Leaves: one file for each command; `tests/cli/test_schemas.py` fails while a
file is not what its model says.

A command joins in with one line in `MODELS`: its name, and `module:Model` of what it prints (of one line, where it
prints one object a line; several, where it prints one of them); fields' docstrings are in the schema. Then give this
command and commit the file. Nothing else is to be changed here. In a test, `tests.cli.schemas.check("command", text)`
validates what was printed against the committed file.
"""

from __future__ import annotations

import json
from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from contract.docstrings import field_docstrings

FOLDER = Path(__file__).parents[1] / "docs/schemas"
MODELS = {
    "address": "cli.address:Found",
    "chaos": "cli.chaos_report:Found",
    "check": "cli.check:Report",
    "cost": "contract.receipt:Receipt",
    "dataset": "cli.answers:Table",
    "deaths": "cli.deaths:Told",
    "deploy": "cli.deploy:Outcome",
    "destroy": "cli.destroy:Destroyed",
    "export": "cli.answers:Export",
    "extend": "cli.extend:Extended",
    "extract": "cli.answers:Extraction",
    "fetch": "cli.fetch:Home",
    "init": "cli.init:Found",
    "key": "cli.keys:Found",
    "logs": "cli.logs:LogLine",
    "ls": "cli.ls:Listing",
    "predict": "cli.answers:Prediction",
    "rehearse": "cli.rehearsal_screen:Report cli.rehearse_cluster:ClusterReport",
    "report": "cli.report:Written",
    "restart": "cli.restart:Restarted",
    "sample": "cli.answers:Sample",
    "simulate": "cli.simulate:Simulation",
    "status": "cli.details:Told",
    "ssh": "cli.shell:WayIn",
    "stop": "cli.halt:Report",
    "sweep": "cli.sweep:Swept",
    "train": "cli.train:Trained",
    "tunnel": "cli.tunnel:Opened",
}


class Described(GenerateJsonSchema):
    """With the docstrings of the fields."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        if fields := made.get("properties"):
            for name, text in field_docstrings(schema["cls"]).items():
                fields[name]["description"] = text
        return made


def text_of(command: str) -> str:
    """The command's schema, as its file has it."""
    parts = [name.partition(":") for name in MODELS[command].split()]
    models = reduce(or_, (getattr(import_module(module), name) for module, _, name in parts))
    schema = TypeAdapter(models).json_schema(mode="serialization", schema_generator=Described)
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": f"of `signspot {command} --json`"}
    return json.dumps(about | schema, indent=2) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for command in MODELS:
        (FOLDER / f"{command}.json").write_text(text_of(command), encoding="utf-8")


if __name__ == "__main__":
    main()
