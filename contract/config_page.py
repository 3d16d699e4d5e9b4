"""Settings → a commented `signspot.toml`: every comment is the docstring of its field in `config.py`."""

from __future__ import annotations

import json

from contract.config import Config
from contract.docstrings import field_docstrings

HEAD = """# Every setting of signspot, with its default. Delete what you do not change.
# Any of them can be overridden for one command: cdk deploy -c run=demo -c max_usd=1.50
"""


def commented_toml(config: Config) -> str:
    parts = [HEAD]
    for section in type(config).model_fields:
        settings = getattr(config, section)
        parts.append(f"\n[{section}]\n")
        docstrings = field_docstrings(type(settings))
        for name in type(settings).model_fields:
            # A JSON text, number, boolean or list of these is also TOML.
            value = json.dumps(getattr(settings, name), ensure_ascii=False)
            parts.append(f"# {docstrings[name]}\n{name} = {value}\n")
    return "".join(parts)
