from __future__ import annotations

from pathlib import Path

import pytest

from contract.box import BoxPaths
from contract.config import SyncConfig, TrainerConfig
from contract.errors import ConfigError
from trainer.settings import Directories, Settings


def test_defaults_are_the_contracts() -> None:
    settings = Settings.from_json("")
    assert settings.trainer == TrainerConfig()
    assert settings.checkpoint_seconds == SyncConfig().checkpoint_seconds
    assert settings.table == "dataset.csv"


def test_values_are_taken() -> None:
    settings = Settings.from_json('{"epochs": 3, "checkpoint_seconds": 5, "checkpoint_steps": 7, "table": "small.csv"}')
    assert (settings.trainer.epochs, settings.checkpoint_seconds, settings.table) == (3, 5, "small.csv")
    assert settings.checkpoint_steps == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"epoch": 3}', "unknown settings: epoch"),
        ('{"command": ["sh"]}', "unknown settings: command"),
        ('{"epochs": 0}', "epochs: .*greater than or equal to 1"),
        ('{"checkpoint_seconds": 0}', "checkpoint_seconds"),
        ('{"table": 3}', "table"),
    ],
)
def test_bad_settings_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.from_json(text)


def test_directories_default_to_the_box() -> None:
    box = BoxPaths()
    assert Directories.from_environment({}) == Directories(box.training, box.checkpoints, box.model, box.output)


def test_directories_come_from_sagemakers_names() -> None:
    names = ("SM_CHANNEL_TRAINING", "SM_CHECKPOINT_DIR", "SM_MODEL_DIR", "SM_OUTPUT_DIR")
    found = Directories.from_environment({name: f"/{name}" for name in names})
    assert found == Directories(*(Path(f"/{name}") for name in names))
