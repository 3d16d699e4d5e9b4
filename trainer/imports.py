"""Importing TensorFlow and Keras in less time: most of what lies between a trainer's start and its first step."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

KERAS_PICTURES = "matplotlib"
"""Keras loads it, where it is installed, for pictures that nobody asks for here."""


@contextmanager
def quick_imports() -> Iterator[None]:
    """For the imports within: no Matplotlib, and no search for garbage, of which modules leave none."""
    searching = gc.isenabled()
    gc.disable()
    try:
        with absent(KERAS_PICTURES):
            yield
    finally:
        if searching:
            gc.enable()


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
