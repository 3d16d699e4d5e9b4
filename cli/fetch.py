"""Brings a run's results home. Enters: the run's name. Leaves: a folder in which every file verifies."""

from __future__ import annotations

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from contract.errors import CloudError, StorageError
from contract.layout import RunLayout
from contract.status import Manifest, ManifestFile

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_s3.client import S3Client

DOWNLOADS_AT_ONCE = 8


def stack_outputs(cloudformation: CloudFormationClient, run: str) -> dict[str, str]:
    """The outputs of the run's stack.

    Raises:
        CloudError: there is no such stack in this account and region, or AWS refuses.
    """
    try:
        stacks = cloudformation.describe_stacks(StackName=f"signspot-{run}")["Stacks"]
    except (ClientError, BotoCoreError) as error:
        raise CloudError(
            f"the stack of run {run!r} cannot be found",
            why=str(error),
            mend="check the run's name, the region (AWS_REGION) and the account (AWS_PROFILE)",
        ) from error
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}


def run_bucket(cloudformation: CloudFormationClient, run: str) -> str:
    return stack_outputs(cloudformation, run)["Bucket"]


def fetch_model(s3: S3Client, bucket: str, run: str, target: Path) -> Manifest:
    """Download the model into `target`, each file under a temporary name until its hash verifies.

    Files that are there already and verify are not fetched again.

    Raises:
        StorageError: there is no model yet, S3 refuses, or a file does not verify.
    """
    layout = RunLayout(run)
    try:
        body = s3.get_object(Bucket=bucket, Key=layout.model_manifest)["Body"].read()
        manifest = Manifest.model_validate_json(body)
    except (ClientError, BotoCoreError, ValidationError) as error:
        raise StorageError(
            f"run {run!r} has no finished model in s3://{bucket}",
            why=str(error),
            mend="wait until the run is done",
        ) from error

    def fetch(file: ManifestFile) -> None:
        place = target / file.name
        if not place.resolve().is_relative_to(target.resolve()):
            raise StorageError(f"{file.name!r} would be written outside {target}", mend="do not trust this bucket")
        if place.is_file() and _sha256(place) == file.sha256:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
        try:
            s3.download_file(bucket, layout.model + file.name, str(temporary))
            if _sha256(temporary) != file.sha256:
                raise StorageError(f"{file.name} does not verify", mend="fetch again; S3 or the network changed it")
            temporary.replace(place)
        except (ClientError, BotoCoreError, OSError) as error:
            raise StorageError(f"{file.name} cannot be fetched into {target}", why=str(error)) from error
        finally:
            temporary.unlink(missing_ok=True)

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        list(pool.map(fetch, manifest.files))
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
