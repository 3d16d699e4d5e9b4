"""`signspot init`: a `signspot.toml` that fits the folder. Enters: a folder. Leaves: the file, and the next command.

What can be found is not asked: the dataset, the SSH key, the region, a name for the run. Nothing else is written, and
no port is opened: `access.ssh_from` stays `none`.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import botocore.session
from botocore.exceptions import BotoCoreError
from pydantic import BaseModel

from cli.keys import OURS, YOURS, public_half
from cli.project import FILE, HOME
from contract.config import Config, load_config
from contract.config_page import commented_toml
from contract.errors import ConfigError

CLIPS = {".mp4", ".mov", ".avi", ".webm", ".mkv"}
COLUMNS = {"path", "label", "split"}
DEEPEST = 5
PASSED_OVER = {"node_modules", "results", "cdk.out", "__pycache__", "site-packages"}
NO_NAME = re.compile(r"[^a-z0-9]+")


class Found(BaseModel):
    """What `signspot init --json` prints."""

    file: Path
    run: str
    dataset: Literal["table", "keypoints", "clips", "none"]
    path: Path | None
    """Of the dataset, or of what one can be made from."""
    public_key: Path | None
    region: str | None
    region_from: str
    next: list[str]
    """Commands, in their order."""


def init(folder: Path, home: Path, settings: Mapping[str, str], *, force: bool = False) -> Found:
    """Look, then write `signspot.toml` in `folder`; `settings` overrule what is found.

    Raises:
        ConfigError: there is one already and `force` was not given, there is no such folder, or a setting is wrong.
    """
    folder = folder.resolve()
    file = folder / FILE
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", mend=f"mkdir -p {folder}")
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already", mend="signspot init --force writes it anew")
    kind, path = find_dataset(folder)
    key = next((half for half in (public_half(home / one) for one in (YOURS, OURS)) if half.exists()), None)
    region, region_from = find_region(os.environ)
    chosen = {"run": _name_of(folder), **({"public_key": str(key)} if key else {})}
    steps = []
    if kind == "none":
        chosen |= {"data.path": "data/sample"}
        steps = [f"signspot sample {_shown(folder / 'data/sample')}"]
    elif kind == "clips" and path:
        keypoints = path.with_name("keypoints") if path != folder else folder / "keypoints"
        chosen |= {"data.path": _relative(keypoints, folder)}
        steps = [f"signspot extract {_shown(path)} --to {_shown(keypoints)}", f"signspot dataset {_shown(keypoints)}"]
    elif kind == "keypoints" and path:
        chosen |= {"data.path": _relative(path, folder)}
        steps = [f"signspot dataset {_shown(path)}"]
    elif path:
        chosen |= {"data.path": _relative(path.parent, folder), "data.table": path.name}
    config = load_config(None, chosen | dict(settings))
    _write(file, _page(config, region, region_from), force)
    elsewhere = "" if Path.cwd() == folder else f"cd {folder} && "
    return Found(
        file=file,
        run=config.run.name,
        dataset=kind,
        path=path,
        public_key=key,
        region=region,
        region_from=region_from,
        next=[*steps, *([] if region else ["export AWS_REGION=us-east-1"]), f"{elsewhere}signspot check"],
    )


def find_dataset(folder: Path) -> tuple[Literal["table", "keypoints", "clips", "none"], Path | None]:
    """A table is better than keypoints, and these than clips; the nearest one, where there are several."""
    keypoints: set[Path] = set()
    clips: set[Path] = set()
    for place, names in _walk(folder):
        tables = [name for name in names if name.endswith(".csv") and _is_table(place / name)]
        if tables:
            return "table", place / min(tables)
        suffixes = {Path(name).suffix.lower() for name in names}
        if ".npy" in suffixes:
            keypoints.add(place)
        if suffixes & CLIPS:
            clips.add(place)
    if keypoints:
        return "keypoints", _above(keypoints, folder)
    return ("clips", _above(clips, folder)) if clips else ("none", None)


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders with the names of their files, the nearest first."""
    level = [folder]
    for _ in range(DEEPEST):
        below: list[Path] = []
        for place in level:
            try:
                entries = sorted(os.scandir(place), key=lambda entry: entry.name)
            except OSError:
                continue
            visible = [entry for entry in entries if not entry.name.startswith(".")]
            yield place, [entry.name for entry in visible if entry.is_file()]
            below += [Path(entry) for entry in visible if entry.is_dir() and entry.name not in PASSED_OVER]
        level = below


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return set(next(csv.reader(file), [])) >= COLUMNS
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _above(folders: set[Path], top: Path) -> Path:
    """The folder that holds a folder for each word."""
    common = Path(os.path.commonpath(folders))
    return common.parent if common in folders and common != top else common


def find_region(environment: Mapping[str, str]) -> tuple[str | None, str]:
    """The region, and who names it."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if environment.get(name):
            return environment[name], name
    try:
        region = botocore.session.get_session().get_config_variable("region")
    except BotoCoreError as error:
        return None, str(error)
    return (str(region), f"profile {environment.get('AWS_PROFILE', 'default')}") if region else (None, "nobody")


def _name_of(folder: Path) -> str:
    """The folder's, as a run may be called; signspot's own folder has no name of yours."""
    name = NO_NAME.sub("-", folder.name.lower()).strip("-").lstrip("0123456789-")[:30].rstrip("-")
    return name if name and folder != HOME else "signspot"


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _page(config: Config, region: str | None, region_from: str) -> str:
    where = f"{region} (named by {region_from})" if region else "named by nobody yet: export AWS_REGION=us-east-1"
    return f"# Written by `signspot init`. Region: {where}; it is no setting.\n{commented_toml(config)}"


def _write(file: Path, text: str, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written", why=error.strerror or "", mend="make the folder yours") from None
