"""CDK's Python speaks to Node: prefer the one that `make setup` put beside this interpreter."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from pathlib import Path


def use_own_node(environ: MutableMapping[str, str]) -> None:
    """To be called before `aws_cdk` is imported, which starts Node."""
    own = Path(sys.executable).with_name("node")
    if own.exists():
        environ.setdefault("JSII_NODE", str(own))
