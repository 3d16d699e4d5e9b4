"""What `signspot tunnel` and the box say to one another while somebody looks at TensorBoard or Jupyter.

The laptop starts `python -m bootstrap.viewer TOOL` over SSH and writes to it: first a token of its own making, one
line, then an empty line now and then. The box answers with a `Viewing` a line. When the laptop falls silent, or the
connection ends, the box ends what it started.
"""

from __future__ import annotations

from typing import Literal

from contract.status import Record

Tool = Literal["tensorboard", "jupyter"]
BEAT_SECONDS = 5.0
"""Between two signs of life, in either direction."""
SILENCE_SECONDS = 60.0
"""After this without one the other side is taken for gone."""


class Viewing(Record):
    """How far it is."""

    message: str = ""
    port: int = 0
    """On the box's 127.0.0.1; 0: it is not up yet."""
    path: str = "/"
    """Where a browser begins, with the token where there is one."""
