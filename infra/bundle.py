"""The code bundle: what the box unpacks at `/opt/signspot`.

Enters: the project's folder and the settings. Leaves: one content-addressed zip; the same
code and settings give the same key, whatever machine or folder they come from.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from aws_cdk import Stack
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from contract.box import BoxPaths
from contract.config import Config
from infra import permissions
from infra.role import BoxRole

ROOMS = ("contract", "bootstrap", "trainer")
LOCKS = tuple(f"requirements/{name}.txt" for name in ("uv", "agent", "box", "box-gpu", "tensorboard", "jupyter"))
CLUSTER_LOCKS = ("requirements/ray.txt", "requirements/extraction.txt")
CODE, SWEEP = BoxPaths().code.name, BoxPaths().sweep.name
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*~")


def stage(home: Path, config: Config, target: Path) -> None:
    """Copy what the box needs, and nothing that is different from one laptop to the next."""
    for room in ROOMS:
        shutil.copytree(home / room, target / room, ignore=LEFT_BEHIND)
    for lock in (*LOCKS, *(CLUSTER_LOCKS if config.machine.boxes > 1 else ())):
        (target / lock).parent.mkdir(exist_ok=True)
        shutil.copyfile(home / lock, target / lock)
    if config.run.code:
        shutil.copytree(config.run.code, target / CODE, ignore=LEFT_BEHIND, ignore_dangling_symlinks=True)
    if config.run.sweep:
        shutil.copyfile(config.run.sweep, target / SWEEP)
    (target / "config.json").write_text(for_the_box(config).model_dump_json(indent=2) + "\n", encoding="utf-8")


def for_the_box(config: Config) -> Config:
    """The settings without the laptop's folders: the box is told where its data is by `DATA`."""
    own = {"code": CODE if config.run.code else "", "sweep": SWEEP if config.run.sweep else ""}
    config = config.model_copy(update={"run": config.run.model_copy(update=own)})
    if config.data.path.startswith("s3://"):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"path": ""})})


class CodeBundle(Construct):
    def __init__(self, scope: Construct, id: str, *, home: Path, config: Config) -> None:
        super().__init__(scope, id)
        with TemporaryDirectory(prefix="signspot-bundle-") as folder:
            stage(home, config, Path(folder))
            self.asset = assets.Asset(self, "Asset", path=folder)
        self.uri = self.asset.s3_object_url

    def grant_read(self, box: BoxRole) -> None:
        partition = Stack.of(self).partition
        object_arn = f"arn:{partition}:s3:::{self.asset.s3_bucket_name}/{self.asset.s3_object_key}"
        box.allow(permissions.read_code(object_arn))
