"""One kind of thing that a run can leave: how AWS is asked for it, by id, by tag and by VPC. See `cli/kinds.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Question = dict[str, Any]
"""Keyword arguments of one request."""


def by_filter(name: str) -> Callable[[list[str]], list[Question]]:
    return lambda values: [{"Filters": [{"Name": name, "Values": values}]}]


def one_by_one(parameter: str) -> Callable[[list[str]], list[Question]]:
    return lambda values: [{parameter: value} for value in values]


@dataclass(frozen=True)
class Kind:
    name: str
    service: str
    operation: str
    found: str
    """JMESPath of the ids in an answer."""
    known: Callable[[list[str]], list[Question]]
    """How to ask for known ids."""
    remove: str
    types: tuple[str, ...] = ()
    """CloudFormation's names of it."""
    arn: str = ""
    """How its ARN begins, as `service:type`; the tagging API answers in ARNs."""
    tagged: Callable[[list[str]], list[Question]] | None = None
    """How to ask for those with the run's tag; None where only the tagging API can tell."""
    in_vpc: Callable[[list[str]], list[Question]] | None = None
    """How to ask for those that lie in a VPC, tagged or not."""
    id_is_arn: bool = False
