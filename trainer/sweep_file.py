"""`sweep.toml`: which settings of the trainer are tried, how, and for how long. Enters: the file. Leaves: a `Sweep`.

search = "optuna"             # random, grid or optuna (TPE)
early_stopping = "asha"       # asha: trials that fall behind end early; none: each runs to its end
metric = "val_accuracy"       # or val_loss; never the test split, which is to stay unseen
seed = 0

[budget]                      # whichever comes first; hours and dollars count all attempts together
trials = 20
hours = 2.0
usd = 1.50
usd_per_hour = 0.20           # of all machines of the cluster together

[trial]                       # what each trial gets for itself
cpus = 1
gpus = 0

[asha]
grace_epochs = 5              # no trial ends sooner
reduction = 3                 # of those that come that far, one in so many goes on

[space]                       # any setting of [trainer]: a list of values, or a range
units = [64, 128, 256]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
dropout = { low = 0.1, high = 0.5 }
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from contract.config import TrainerConfig, override_names
from contract.errors import ConfigError
from trainer.settings import TRAINER_SETTINGS


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(Part):
    low: float
    high: float
    log: bool = False
    """True: as many trials between 0.001 and 0.01 as between 0.01 and 0.1."""

    @model_validator(mode="after")
    def _something_between(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} is not below high = {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs low above 0, not {self.low:g}")
        return self


class Budget(Part):
    trials: int = Field(20, ge=1, le=100_000)
    hours: float | None = Field(None, gt=0)
    usd: float | None = Field(None, gt=0)
    usd_per_hour: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _price(self) -> Budget:
        if self.usd is not None and self.usd_per_hour is None:
            raise ValueError("usd needs usd_per_hour: what an hour of all machines together costs")
        return self

    @property
    def seconds(self) -> float:
        """In which all has to be done; infinite where neither hours nor dollars are given."""
        hours = [self.hours] if self.hours is not None else []
        if self.usd is not None and self.usd_per_hour is not None:
            hours.append(self.usd / self.usd_per_hour)
        return 3600 * min(hours, default=math.inf)


class Trial(Part):
    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)


class Asha(Part):
    grace_epochs: int = Field(5, ge=1)
    reduction: float = Field(3, gt=1)


class Sweep(Part):
    search: Literal["random", "grid", "optuna"] = "random"
    early_stopping: Literal["asha", "none"] = "asha"
    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    seed: int = Field(0, ge=0, le=2**31 - 1)
    budget: Budget = Budget()
    trial: Trial = Trial()
    asha: Asha = Asha()
    space: Mapping[str, list[Any] | Range] = Field(min_length=1)

    @field_validator("space")
    @classmethod
    def _settings_of_the_trainer(cls, space: Mapping[str, list[Any] | Range]) -> Mapping[str, list[Any] | Range]:
        return {_setting(name): _checked(_setting(name), values) for name, values in space.items()}

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Sweep:
        if self.search != "grid":
            return self
        if ranges := [name for name, values in self.space.items() if isinstance(values, Range)]:
            raise ValueError(f"space.{ranges[0]}: a grid takes a list of values, not a range")
        size = math.prod(len(values) for values in self.space.values() if isinstance(values, list))
        if size > self.budget.trials:
            raise ValueError(f"the grid has {size} trials, budget.trials allows {self.budget.trials}")
        return self

    @staticmethod
    def whole(name: str) -> bool:
        """Whether the setting is a whole number."""
        return TrainerConfig.model_fields[name].annotation is int

    def holds(self, settings: TrainerConfig) -> bool:
        """Whether these settings are one of the points that the sweep may try."""
        return all(_is_in(getattr(settings, name), values) for name, values in self.space.items())


def load_sweep(path: Path) -> Sweep:
    """Read and check the file.

    Raises:
        ConfigError: it cannot be read, or something in it cannot be; one message names everything.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path} cannot be read", why=why or "", mend="correct it; docs/scale.md has one") from None
    try:
        return Sweep.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(f"{path}: {_explained(item)}" for item in error.errors()),
            mend="correct it; docs/scale.md has one",
        ) from None


def _explained(item: Any) -> str:
    place = [str(part) for part in item["loc"] if part not in ("list[any]", "Range")]
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        parts: dict[str, type[Part]] = {"budget": Budget, "trial": Trial, "asha": Asha}
        known = parts.get(place[0], Sweep if len(place) == 1 else Range).model_fields
        message = f"there is no such entry{_similar(place[-1], known)}"
    elif item["type"] == "list_type":
        message = "give a list of values, or a range { low = …, high = … }"
    return f"{'.'.join(place)}: {message}" if place else message


def _similar(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _setting(name: str) -> str:
    section, setting = override_names().get(name, ("", name))
    if section != "trainer" or setting not in TRAINER_SETTINGS:
        raise ValueError(f"there is no setting {name!r} of [trainer]{_similar(name, TRAINER_SETTINGS)}")
    return setting


def _checked(name: str, values: list[Any] | Range) -> list[Any] | Range:
    """With each value as the setting has it: 64 for 64.0 where it counts something."""
    if isinstance(values, Range):
        if TrainerConfig.model_fields[name].annotation not in (int, float):
            raise ValueError(f"{name} is no number: give a list of values")
        for end in (values.low, values.high):
            _value(name, end)
        return values
    if not values:
        raise ValueError(f"{name}: the list is empty")
    return [_value(name, value) for value in values]


def _value(name: str, value: Any) -> Any:
    try:
        return getattr(TrainerConfig.model_validate({name: value}), name)
    except ValidationError as error:
        raise ValueError(f"{name} = {value!r}: {error.errors()[0]['msg']}") from None


def _is_in(value: Any, values: list[Any] | Range) -> bool:
    return values.low <= value <= values.high if isinstance(values, Range) else value in values
