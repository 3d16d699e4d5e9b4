"""What the trainer needs before it can start: its packages and its data."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor

import boto3
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from bootstrap.objects import storage_errors
from bootstrap.packages import INSTALL_SECONDS, install, locks, run_uv
from bootstrap.state import Box
from contract.box import BoxPaths
from contract.errors import SignspotError, StorageError, TrainerError

DOWNLOADS_AT_ONCE = 16
LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
}
"""What is loaded, and Ubuntu's package that has it."""


@retry(retry=retry_if_exception_type(SignspotError), stop=stop_after_attempt(4), wait=wait_exponential(2), reraise=True)
def install_trainer(box: Box) -> None:
    """The pinned, hashed packages, unless they are there by now (packages.py). For a trainer of the user's own what its
    requirements.txt names, in an environment of its own; paths in it count from its own folder.

    Raises:
        TrainerError: the package index cannot be reached or holds something else than the lock file says.
    """
    paths = box.paths
    for what, arguments in [*(_own(paths) if box.config.run.code else []), *_locked(box)]:
        try:
            run_uv(paths, arguments, paths.code if box.config.run.code else paths.home, box.environment)
        except subprocess.SubprocessError as error:
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise TrainerError(
                f"{what} could not be installed",
                why=said.strip()[-2000:],
                mend="the box needs to reach the Python package index, and it to have what is asked for",
            ) from error


def _locked(box: Box) -> list[tuple[str, list[str]]]:
    """What is installed, and uv's arguments."""
    config = box.config
    names = locks(config.run.job, own=bool(config.run.code), boxes=config.machine.boxes)
    return [(f"the packages of {name}", install(box.paths, name)) for name in names]


def install_libraries(box: Box) -> None:
    """What MediaPipe and OpenCV need of the system, for who has clips; where it is there already, nothing.

    Raises:
        TrainerError: Ubuntu's archives cannot be reached.
    """
    if all(_loads(name) for name in LIBRARIES):
        return
    for words in (["update"], ["-y", "install", *LIBRARIES.values()]):
        command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *words]
        what = "the system's libraries for clips could not be installed"
        try:
            done = subprocess.run(
                command, env=dict(box.environment), capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired as late:
            raise TrainerError(what, why=f"apt-get took more than {late.timeout:g} s") from None
        if done.returncode and "install" in words:
            raise TrainerError(what, why=done.stderr[-2000:])


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _own(paths: BoxPaths) -> list[tuple[str, list[str]]]:
    """The same for a trainer of the user's own. uv holds against a hash whatever is given with one."""
    venv, wanted = str(paths.code_venv), paths.code / "requirements.txt"
    make = ["venv", "-q", "--clear", "--no-project", "--python", str(paths.venv / "bin/python"), venv]
    python = ("the trainer's own Python", make)
    packages = ["pip", "install", "-q", "--python", f"{venv}/bin/python", "-r", str(wanted)]
    return [python, *([("the packages of run.code's requirements.txt", packages)] if wanted.exists() else [])]


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
