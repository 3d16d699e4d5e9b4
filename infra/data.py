"""The dataset: a folder that is uploaded once per content, or an `s3://` prefix that is read in place.

Enters: `[data]` of the settings and the folder of the file they came from. Leaves: where the
box finds the dataset, and the permission to read exactly that.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import Stack, SymlinkFollowMode
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from contract.config import DataConfig
from contract.errors import ConfigError, DataError
from infra import permissions
from infra.acknowledge import acknowledge
from infra.role import BoxRole

COLUMNS = ("path", "label", "split")
S3_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[\w!.()/-]*))?", re.ASCII)


@dataclass(frozen=True)
class S3Prefix:
    bucket: str
    prefix: str
    """Empty, or ends with a slash."""

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def find_data(data: DataConfig, folder: Path, *, with_table: bool = True) -> Path | S3Prefix:
    """A local path is relative to `folder`. Only cheap checks: the table is opened, keypoint files are not.

    Without `with_table` any folder will do: a trainer of the user's own knows what should be in it.

    Raises:
        ConfigError: the path names nothing.
        DataError: it names a folder without a usable table.
    """
    if data.path.startswith("s3://"):
        match = S3_URI.fullmatch(data.path)
        if not match:
            raise ConfigError(
                f"data.path: {data.path!r} is not an S3 prefix",
                mend="write it as s3://bucket/prefix, with letters, digits and -_.!()/ in the prefix",
            )
        prefix = (match["prefix"] or "").strip("/")
        return S3Prefix(match["bucket"], f"{prefix}/" if prefix else "")
    path = (folder / Path(data.path).expanduser()).resolve()
    if not path.is_dir():
        raise ConfigError(
            f"data.path: there is no folder {path}",
            mend="set data.path (or -c data.path=...) to the folder that holds your keypoints, "
            "or make a small one: python -m trainer.sample data/sample",
        )
    if with_table:
        _check_table(path / data.table)
    return path


def _check_table(table: Path) -> None:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
            empty = next(rows, None) is None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} cannot be read", why=str(error), mend="set data.table to the CSV that lists your keypoint files"
        ) from None
    if missing:
        raise DataError(
            f"{table} has no column {', '.join(missing)}", mend="give it the columns path,label,split and maybe signer"
        )
    if empty:
        raise DataError(f"{table} lists no sequence: the dataset is empty", mend="add one row per keypoint file")


class Dataset(Construct):
    def __init__(self, scope: Construct, id: str, *, source: Path | S3Prefix) -> None:
        super().__init__(scope, id)
        self.source = source
        self.partition = Stack.of(self).partition
        if isinstance(source, Path):
            self.asset = assets.Asset(self, "Asset", path=str(source), follow_symlinks=SymlinkFollowMode.ALWAYS)
            self.uri = self.asset.s3_object_url
        else:
            self.uri = source.uri

    def grant_read(self, box: BoxRole) -> None:
        if isinstance(self.source, Path):
            key = f"{self.asset.s3_bucket_name}/{self.asset.s3_object_key}"
            box.allow(permissions.read_data(f"arn:{self.partition}:s3:::{key}"))
            return
        bucket, prefix = self.source.bucket, self.source.prefix
        box.allow(permissions.read_data(f"arn:{self.partition}:s3:::{bucket}/{prefix}*"))
        box.allow(permissions.list_data(f"arn:{self.partition}:s3:::{bucket}", prefix))
        acknowledge(
            box,
            f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::{bucket}/{prefix}*]",
            "The files below the prefix that data.path names are the owner's to choose.",
        )
