"""What docs/your-own-trainer.md shows is what the settings and the box take."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bootstrap.workload import contract_environment
from contract.box import BoxPaths
from contract.config import Config, load_config
from contract.status import Progress

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/your-own-trainer.md").read_text()
EXAMPLE = (ROOT / "examples/pytorch/train.py").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert isinstance(found, str)
    return found


def test_the_settings_are_settings(tmp_path: Path) -> None:
    (tmp_path / "signspot.toml").write_text(block("toml"))
    config = load_config(tmp_path / "signspot.toml")
    assert (config.run.code, config.trainer.command[:2], config.data.path) == (
        "code",
        ("python", "train.py"),
        "numbers",
    )


def test_the_progress_is_all_there_is_to_say_of_it() -> None:
    told = json.loads(block("json"))
    assert told.items() <= Progress.model_validate(told).model_dump().items()


def test_every_variable_is_one_that_the_box_sets() -> None:
    given = {name for name in contract_environment(BoxPaths(), Config()) if name.startswith("SM_")}
    assert given == set(re.findall(r"\| `(SM_\w+)` \|", PAGE))
    assert {f"SM_{name}_DIR" for name in re.findall(r'\("(\w+)", "(\w+)", "(\w+)"\)', EXAMPLE)[0]} <= given


def test_the_shortened_example_is_python() -> None:
    compile(block("python"), "your-own-trainer.md", "exec")
