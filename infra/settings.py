"""From `cdk` to settings: the file, the `-c` overrides, the paths they name.

Enters: CDK's context and the project's folder. Leaves: `Settings`, checked; nothing has been created.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.config import AccessConfig, Config, load_config
from contract.errors import ConfigError
from infra.data import S3Prefix, find_data

KEY_TYPES = ("ssh-ed25519 ", "ssh-rsa ")
"""What EC2 imports."""


@dataclass(frozen=True)
class Settings:
    config: Config
    """With the text of the public key in place of its path."""
    data: Path | S3Prefix


def read_settings(context: Mapping[str, Any], home: Path) -> Settings:
    """`-c config=FILE` names the settings file, else `signspot.toml` in `home`, else all defaults."""
    file = home / str(context.get("config", "signspot.toml"))
    named = "config" in context
    config = load_config(file if named or file.exists() else None, overrides(context))
    access = config.access.model_copy(update={"public_key": key_text(config.access, file.parent)})
    return Settings(config.model_copy(update={"access": access}), find_data(config.data, file.parent))


def overrides(context: Mapping[str, Any]) -> dict[str, str]:
    """Every key of the context that is not CDK's own: flags start with @, the CLI's contain a colon or slash."""
    ours = {key: value for key, value in context.items() if not (key.startswith("@") or ":" in key or "/" in key)}
    ours.pop("config", None)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in ours.items()}


def key_text(access: AccessConfig, folder: Path) -> str:
    """The public key without its comment; a private one is refused and never repeated in the message."""
    if not access.ssh:
        return ""
    text = access.public_key.strip()
    if not text.startswith(KEY_TYPES):
        path = folder / Path(text).expanduser()
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, ValueError):
            raise ConfigError(
                "access.public_key is neither a public key nor a file that holds one",
                mend="give the path of a .pub file; `ssh-keygen -t ed25519` makes one",
            ) from None
    if not text.startswith(KEY_TYPES) or "\n" in text:
        raise ConfigError(
            "access.public_key does not hold one ssh-ed25519 or ssh-rsa public key",
            why="EC2 imports only these; a private key never leaves the laptop",
            mend="give the path of the .pub file; `ssh-keygen -t ed25519` makes one",
        )
    return " ".join(text.split()[:2])
