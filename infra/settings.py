"""From `cdk` to settings: the file, the `-c` overrides, the paths they name.

Enters: CDK's context and the project's folder. Leaves: `Settings`, checked; nothing has been created.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from contract.config import AccessConfig, Config, load_config
from contract.errors import ConfigError
from infra.data import S3Prefix, find_data

COMMAND = "cdk deploy -c ssh_from=$(signspot address) -c public_key=$(signspot key)"
"""Opens the door to this laptop alone, with plain CDK: synthesis itself asks nobody."""


@dataclass(frozen=True)
class Settings:
    config: Config
    """With the text of the public key in place of its path, and the absolute paths of `run.code` and `run.sweep`."""
    data: Path | S3Prefix
    extend_hours: float = 0
    """`-c extend_hours`: of one command, and of no file."""


def read_settings(context: Mapping[str, Any], home: Path) -> Settings:
    """`-c config=FILE` names the settings file, else `signspot.toml` in `home`, else all defaults."""
    file = home / str(context.get("config", "signspot.toml"))
    named = "config" in context
    config = load_config(file if named or file.exists() else None, overrides(context))
    access = config.access.model_copy(update={"public_key": key_text(config.access, file.parent)})
    own = {"code": code_folder(config.run.code, file.parent), "sweep": sweep_file(config.run.sweep, file.parent)}
    run = config.run.model_copy(update=own)
    extend_hours = _hours(str(context.get("extend_hours", "0")))
    data = find_data(config.data, file.parent, with_table=not run.code and run.job != "extract")
    return Settings(config.model_copy(update={"access": access, "run": run}), data, extend_hours)


def code_folder(code: str, folder: Path) -> str:
    """`run.code` as an absolute path; empty where it is.

    Raises:
        ConfigError: it is no folder, or one that the CDK writes into.
    """
    if not code:
        return ""
    path = (folder / Path(code).expanduser()).resolve()
    if not path.is_dir():
        raise ConfigError(f"run.code: there is no folder {path}", mend="set run.code to the folder of your trainer")
    if (path / "signspot.toml").exists() or (path / "cdk.out").exists():
        raise ConfigError(
            f"run.code: {path} holds more than a trainer",
            why="all of it would be brought to the box: settings, dataset, results",
            mend="put the trainer and its requirements.txt into a folder of their own, and name that",
        )
    return str(path)


def sweep_file(sweep: str, folder: Path) -> str:
    """`run.sweep` as an absolute path; empty where it is.

    Raises:
        ConfigError: there is no such file, or it is no TOML.
    """
    path = (folder / Path(sweep).expanduser()).resolve()
    if not sweep:
        return ""
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"run.sweep: {path} is no sweep.toml", why=why, mend="set run.sweep to the file of your sweep"
        ) from None
    return str(path)


def _hours(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"extend_hours={text} is no number of hours", mend="for instance -c extend_hours=2") from None


def overrides(context: Mapping[str, Any]) -> dict[str, str]:
    """Every key of the context that is not CDK's own: flags start with @, the CLI's contain a colon or slash."""
    ours = {key: value for key, value in context.items() if not (key.startswith("@") or ":" in key or "/" in key)}
    ours.pop("config", None)
    ours.pop("extend_hours", None)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in ours.items()}


def key_text(access: AccessConfig, folder: Path) -> str:
    """The public key without its comment; what else was given is refused and never repeated in the message.

    Raises:
        ConfigError: `ssh_from` is still `auto`, or there is not exactly one ed25519 public key.
    """
    if not access.ssh:
        return ""
    if access.ssh_from == "auto":
        raise _refusal(
            "access.ssh_from is auto, and synthesis asks nobody for your address",
            why="what a template says must not depend on who synthesises it, or where",
            mend=COMMAND,
        )
    text = access.public_key.strip()
    if not text:
        raise _refusal("access.ssh_from is set but access.public_key is empty: nobody could log in", mend=COMMAND)
    if "PRIVATE KEY" not in text and not text.startswith(("ssh-", "ecdsa-", "sk-")):
        text = _read_key(folder / Path(text).expanduser())
    if "PRIVATE KEY" in text:
        raise _refusal(
            "access.public_key does not hold one public key: it is a private key",
            why="a private key never leaves the laptop; EC2 is given the public half",
            mend="give the path of the .pub file beside it, or `-c public_key=$(signspot key)`",
        )
    try:
        if not isinstance(load_ssh_public_key(text.encode()), Ed25519PublicKey) or "\n" in text:
            raise ValueError("another kind")
    except (ValueError, UnsupportedAlgorithm):
        raise _refusal(
            "access.public_key does not hold one ssh-ed25519 public key",
            why=f"it is {text.split()[0]}" if text.startswith(("ssh-rsa ", "ecdsa-", "sk-")) else "",
            mend="`-c public_key=$(signspot key)` finds or makes one",
        ) from None
    return " ".join(text.split()[:2])


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError, ValueError):
        why = ""
    except OSError as error:
        why = error.strerror or ""
    raise _refusal(
        "access.public_key is neither a public key nor a file that holds one",
        why=why,
        mend="give the path of a .pub file; `-c public_key=$(signspot key)` finds or makes one",
    )


def _refusal(what: str, *, why: str = "", mend: str) -> ConfigError:
    return ConfigError(what, why=why, mend=f"{mend}\nTo destroy, neither is needed: cdk destroy -c ssh_from=none")
