"""Imports without what they would load for nothing. Enters: names of modules. Leaves: nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

KERAS_PICTURES = "matplotlib"
"""Keras loads it, where it is installed, for pictures that nobody asks for here: a fifth of the import of TensorFlow,
which is most of the time from a trainer's start to its first step."""


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Who imports the module within is told that it is not installed; where it is loaded already, nothing changes."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # https://docs.python.org/3/library/sys.html#sys.modules
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]
