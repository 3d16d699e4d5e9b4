"""The settings that a command of the laptop goes by. Enters: `-c NAME=VALUE`s. Leaves: a `Project`.

The file is the one that `-c config=FILE` names, else `signspot.toml` of the folder one is in, else that of signspot's
own folder; without any, all defaults hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from contract.config import Config, load_config, override_names
from contract.errors import ConfigError

HOME = Path(__file__).resolve().parents[1]
FILE = "signspot.toml"


@dataclass(frozen=True)
class Project:
    config: Config
    file: Path | None
    """Absolute; None: all defaults."""
    overrides: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """What paths in the settings are relative to."""
        return self.file.parent if self.file else HOME

    @property
    def run(self) -> str:
        return self.config.run.name

    @property
    def data(self) -> Path | None:
        """The dataset's folder; None where it is in S3."""
        path = self.config.data.path
        return None if path.startswith("s3://") else (self.folder / Path(path).expanduser()).resolve()

    @property
    def context(self) -> tuple[str, ...]:
        """The same settings, as arguments of the CDK CLI."""
        given = {"config": str(self.file), **self.overrides} if self.file else self.overrides
        return tuple(word for name, value in given.items() for word in ("-c", f"{name}={value}"))

    def opened(self, address: Callable[[], str], key: Callable[[], Path]) -> Project:
        """With `auto` resolved to this laptop's address and, where SSH is on, with a key.

        Raises:
            CloudError: the address cannot be found. ConfigError: the key is unusable.
        """
        access = self.config.access
        more = {"access.ssh_from": address()} if access.ssh_from == "auto" else {}
        if access.ssh and not access.public_key:
            more["access.public_key"] = str(key())
        if not more:
            return self
        names = override_names()
        ours = {names[name] for name in more}
        kept = {name: value for name, value in self.overrides.items() if names[name] not in ours}
        return replace(self, config=load_config(self.file, kept | more), overrides=kept | more)


def open_project(settings: Iterable[str] = (), here: Path | None = None) -> Project:
    """Raises ConfigError: no such setting, no such file, or values that cannot be."""
    overrides = dict(split(text) for text in settings)
    here = here or Path.cwd()
    named = overrides.pop("config", "")
    places = [here / named] if named else [folder / FILE for folder in (here, HOME) if (folder / FILE).exists()]
    file = places[0].resolve() if places else None
    return Project(load_config(file, overrides), file, overrides)


def split(text: str) -> tuple[str, str]:
    """`NAME=VALUE`; raises ConfigError for anything else."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"-c {text}: a setting is given as NAME=VALUE", mend="for instance -c max_usd=1.50")
    return name, value
