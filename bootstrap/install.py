"""What the trainer needs before it can start: its packages and its data."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from bootstrap.objects import storage_errors
from bootstrap.state import Box
from contract.errors import SignspotError, StorageError, TrainerError

GPU = Path("/dev/nvidia0")
DOWNLOADS_AT_ONCE = 16
INSTALL_SECONDS = 900
"""What one try may take; CUDA's packages are about 3 GB. An index that sends nothing must not keep the box alive."""


@retry(retry=retry_if_exception_type(SignspotError), stop=stop_after_attempt(4), wait=wait_exponential(2), reraise=True)
def install_trainer(box: Box) -> None:
    """The pinned, hashed packages; CUDA's only where there is a GPU.

    Raises:
        TrainerError: the package index cannot be reached or holds something else than the lock file says.
    """
    locks = ["box.txt", "box-gpu.txt"] if GPU.exists() else ["box.txt"]
    for lock in locks:
        try:
            subprocess.run(
                f"venv/bin/uv pip install -q --python venv/bin/python --require-hashes -r requirements/{lock}".split(),
                cwd=box.paths.home,
                env=dict(box.environment),
                capture_output=True,
                text=True,
                check=True,
                timeout=INSTALL_SECONDS,
            )
        except subprocess.SubprocessError as error:
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise TrainerError(
                f"the packages of requirements/{lock} could not be installed",
                why=said.strip()[-2000:],
                mend="the box needs to reach the Python package index",
            ) from error


@retry(retry=retry_if_exception_type(StorageError), stop=stop_after_attempt(4), wait=wait_exponential(2), reraise=True)
def fetch_data(box: Box) -> None:
    """The dataset into SM_CHANNEL_TRAINING, from one zip (a CDK asset) or from below a prefix.

    Raises:
        StorageError: it cannot be read, or the prefix is empty.
    """
    bucket, _, key = box.data.removeprefix("s3://").partition("/")
    target = box.paths.training
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    s3 = boto3.client("s3")
    with storage_errors(f"read {box.data}"):
        if key.endswith(".zip"):
            archive = box.paths.home / "data.zip"
            s3.download_file(bucket, key, str(archive))
            try:
                with zipfile.ZipFile(archive) as opened:
                    opened.extractall(target)
            except zipfile.BadZipFile as error:
                raise StorageError(f"{box.data} is no whole zip", why=str(error), mend="deploy again") from error
            archive.unlink()
            return
        prefix = key.rstrip("/") + "/"
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", []) if not found["Key"].endswith("/")]
        if not keys:
            raise StorageError(f"there is nothing below {box.data}", mend="correct data.path and deploy again")

        def download(name: str) -> None:
            place = target / name.removeprefix(prefix)
            if not place.resolve().is_relative_to(target.resolve()):
                raise StorageError(f"{name} would be written outside the data folder", mend="rename the object")
            place.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, name, str(place))

        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(download, keys))
