"""What checks find out for one another and for the forecast. Each fills in its own part."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import BaseModel

from contract.ceiling import Ceiling


class Price(BaseModel):
    """Spot, Linux, in dollars an hour: of one type in one zone."""

    type: str
    zone: str
    now: float
    median_7d: float
    """Weighted by how long each price held."""
    max_7d: float
    fits: bool
    """Whether it is at most the highest price that the run accepts."""


class Dataset(BaseModel):
    clips: int
    words: int
    splits: dict[str, int]
    bytes: int = 0
    """0: not known."""


@dataclass(frozen=True)
class Up:
    """A run of this name that is deployed already."""

    ceiling: Ceiling
    desired: int
    bucket: str
    groups: list[str]


@dataclass
class Facts:
    account: str = ""
    up: Up | None = None
    prices: list[Price] = field(default_factory=list)
    dataset: Dataset | None = None
    quota_missing: dict[str, int] = field(default_factory=dict)
    """Quota code → vCPUs that the machine needs and the account may not run."""
