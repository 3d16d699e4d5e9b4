from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from contract.docstrings import field_docstrings


class Parent(BaseModel):
    kept: int = 0
    """Of the parent."""
    said_anew: int = 0
    """As the parent says it."""
    silent: int = 0
    no_field: ClassVar[int] = 0
    """Of the class."""


class Child(Parent):
    """Not a field's."""

    said_anew: int = 1
    """As the child
    says it.
    """

    def method(self) -> int:
        """Not a field's either."""
        return self.kept


def test_each_field_has_its_own_docstring_or_its_parents() -> None:
    assert field_docstrings(Child) == {"kept": "Of the parent.", "said_anew": "As the child\nsays it."}
