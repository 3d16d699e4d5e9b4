"""Settings of one attempt. Enters: the environment of SageMaker's training contract. Leaves: a frozen `Settings`.

`SM_HPS` is a JSON object of the fields of `contract.config.TrainerConfig` (all but `command`),
`checkpoint_seconds`, `checkpoint_steps` and `table`; whatever it leaves out has the contract's default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contract.box import BoxPaths
from contract.config import DataConfig, SyncConfig, TrainerConfig
from contract.errors import ConfigError

TRAINER_SETTINGS = tuple(name for name in TrainerConfig.model_fields if name != "command")
SYNC_SETTINGS = ("checkpoint_seconds", "checkpoint_steps")


@dataclass(frozen=True)
class Directories:
    dataset: Path
    checkpoints: Path
    model: Path
    output: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Directories:
        box = BoxPaths()
        return cls(
            dataset=Path(environment.get("SM_CHANNEL_TRAINING") or box.training),
            checkpoints=Path(environment.get("SM_CHECKPOINT_DIR") or box.checkpoints),
            model=Path(environment.get("SM_MODEL_DIR") or box.model),
            output=Path(environment.get("SM_OUTPUT_DIR") or box.output),
        )


@dataclass(frozen=True)
class Settings:
    trainer: TrainerConfig
    checkpoint_seconds: float
    checkpoint_steps: int
    table: str

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Settings from `SM_HPS`; an empty text means all defaults.

        Raises:
            ConfigError: no JSON object, an unknown key, or a value of a wrong type or out of range.
        """
        values = _parse(text)
        known = (*TRAINER_SETTINGS, *SYNC_SETTINGS, "table")
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"SM_HPS names unknown settings: {', '.join(unknown)}", mend=f"use {', '.join(known)}")

        def only(*names: str) -> dict[str, Any]:
            return {name: values[name] for name in names if name in values}

        try:
            sync = SyncConfig.model_validate(only(*SYNC_SETTINGS))
            return cls(
                trainer=TrainerConfig.model_validate(only(*TRAINER_SETTINGS)),
                checkpoint_seconds=sync.checkpoint_seconds,
                checkpoint_steps=sync.checkpoint_steps,
                table=DataConfig.model_validate(only("table")).table,
            )
        except ValidationError as error:
            wrong = "; ".join(f"{item['loc'][0]}: {item['msg']} (got {item['input']!r})" for item in error.errors())
            raise ConfigError(f"SM_HPS: {wrong}", mend="correct the setting in signspot.toml") from None


def _parse(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text) if text else {}
    except ValueError as error:
        raise ConfigError("SM_HPS is not JSON", why=str(error), mend="give a JSON object of settings") from None
    if not isinstance(values, dict):
        raise ConfigError("SM_HPS is not a JSON object", mend="give a JSON object of settings")
    return values
