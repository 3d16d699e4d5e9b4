"""The docstrings under a model's fields, read from its source when somebody asks for them.

pydantic's own way (`use_attribute_docstrings`) parses the source of every model at every import, by each command and on
the box.
"""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent

from pydantic import BaseModel


def field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """By the field's name; inherited ones too."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        (written,) = ast.parse(dedent(inspect.getsource(one))).body
        assert isinstance(written, ast.ClassDef)
        for field, below in pairwise(written.body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and field.target.id in model.model_fields
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[field.target.id] = inspect.cleandoc(below.value.value)
    return found
