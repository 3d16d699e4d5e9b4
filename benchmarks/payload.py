"""What a box must fetch before its first training step: packages and bytes, ours against the usual guide's.

Ours: the code bundle, uv, and what the lock files name. Theirs: what `pip install` takes for the unpinned list of a
guide (its code counts as nothing). The dataset is the same for both and left out. Nothing is downloaded: uv resolves
for the box's Python and platform, the index says how large each file is. It is arithmetic, so once is enough.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from benchmarks.guide import REQUIREMENTS
from benchmarks.pairs import arguments
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.table import show

HOME = Path(__file__).resolve().parents[1]
PYTHON = (3, 12)
"""Of Ubuntu 24.04, on which the Deep Learning Base AMI is built."""
GLIBC = 39
"""Its C library is 2.39."""
GPU = "tensorflow[and-cuda]"
"""As https://www.tensorflow.org/install/pip has it."""
LOCKS = ("uv", "agent")
MEGABYTE = 1e6
LARGEST = 6
"""That the page names."""
OPENED = ("cuda-runtime", "cublas", "cufft", "cusolver", "cusparse", "cudnn")
"""CUDA's libraries without any of which TensorFlow registers no GPU, as nvidia-<name>-cu12 has them:
TryDlopenCUDALibraries in tsl/platform/default/dlopen_checker.cc.
"""


@dataclass(frozen=True)
class Fetched:
    """Packages by name, with the bytes of the file that is fetched for each."""

    packages: Mapping[str, int]
    code: int = 0

    @property
    def megabytes(self) -> float:
        return (sum(self.packages.values()) + self.code) / MEGABYTE

    @property
    def indispensable(self) -> float:
        """Megabytes of TensorFlow and of what it opens before it registers a GPU."""
        kept = {"tensorflow", "tensorflow-cpu", *(f"nvidia-{name}-cu12" for name in OPENED)}
        return sum(size for name, size in self.packages.items() if name in kept) / MEGABYTE

    @property
    def largest(self) -> str:
        heaviest = sorted(self.packages.items(), key=lambda item: -item[1])[:LARGEST]
        return ", ".join(f"{name} {size / MEGABYTE:.0f}" for name, size in heaviest)


def tags() -> list[Tag]:
    """What the box's Python can install, the most fitting first."""
    platforms = [*(f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, 4, -1)), "manylinux2014_x86_64"]
    platforms += ["manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    return [*cpython_tags(PYTHON, platforms=platforms), *compatible_tags(PYTHON, "cp312", platforms)]


def chosen(package: Mapping[str, Any], order: Sequence[Tag]) -> str:
    """The address of the file that an installer takes: the wheel that fits best, else the source."""
    rank = {tag: place for place, tag in enumerate(order)}
    fitting = []
    for wheel in package.get("wheels", ()):
        *_, of_wheel = parse_wheel_filename(wheel["url"].rpartition("/")[2])
        if places := [rank[tag] for tag in of_wheel if tag in rank]:
            fitting.append((min(places), wheel["url"]))
    return str(min(fitting)[1] if fitting else package["sdist"]["url"])


def resolve(requirements: Iterable[Path]) -> dict[str, str]:
    """The file to fetch for each package, by the package's name. Raises CalledProcessError without an index."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "pylock.toml")
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "-q", "--format", "pylock.toml"]
        platform = ["--python-version", ".".join(map(str, PYTHON)), "--python-platform", f"x86_64-manylinux_2_{GLIBC}"]
        subprocess.run(
            [*uv, *platform, *map(str, requirements), "-o", str(lock)], check=True, stdout=subprocess.DEVNULL
        )
        packages = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
    order = tags()
    return {package["name"]: chosen(package, order) for package in packages}


def size(address: str) -> int:
    """What the index says that a file has, in bytes."""
    with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=30) as answer:
        return int(answer.headers["Content-Length"])


def bundle() -> int:
    """Bytes of our code bundle, zipped as the CDK does."""
    from contract.config import Config
    from infra.node import use_own_node

    use_own_node(os.environ)
    from infra.bundle import stage

    with tempfile.TemporaryDirectory() as folder:
        stage(HOME, Config(), Path(folder, "bundle"))
        return Path(shutil.make_archive(str(Path(folder, "asset")), "zip", Path(folder, "bundle"))).stat().st_size


def measure() -> dict[str, tuple[Fetched, Fetched]]:
    """Ours and theirs, for a box with a GPU and for one without."""
    files: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, locks, tensorflow in (("GPU", (*LOCKS, "box-gpu"), GPU), ("CPU", (*LOCKS, "box"), "tensorflow")):
            listed = Path(folder, f"{kind}.in")
            listed.write_text("\n".join((tensorflow, *REQUIREMENTS)) + "\n", encoding="utf-8")
            files[kind] = resolve(HOME / f"requirements/{lock}.txt" for lock in locks), resolve([listed])
    addresses = {address for sides in files.values() for side in sides for address in side.values()}
    with ThreadPoolExecutor(4) as pool:
        sizes = dict(zip(addresses, pool.map(size, addresses), strict=True))
    code = bundle()
    return {
        kind: (
            Fetched({name: sizes[address] for name, address in ours.items()}, code),
            Fetched({name: sizes[address] for name, address in theirs.items()}),
        )
        for kind, (ours, theirs) in files.items()
    }


def main() -> None:
    options = arguments("payload", __doc__, 1).parse_args()
    rows, left = [], []
    found = measure()
    for kind, (ours, theirs) in found.items():
        fetched = Row(
            measure=f"{kind}: bytes",
            unit="MB",
            ours=(ours.megabytes,),
            theirs=(theirs.megabytes,),
            least=(ours.indispensable,),
            aim=Aim(number=0.6),
        )
        number = (len(ours.packages) + 1,), (len(theirs.packages),)
        rows += [fetched, Row(measure=f"{kind}: packages", unit="files", ours=number[0], theirs=number[1])]
        left.append(f"with a {kind}, ours are (MB) {ours.largest}; theirs {theirs.largest}")
    listed = " ".join((GPU, *REQUIREMENTS))
    result = Result(
        name="payload",
        what="What a box must fetch before its first training step; the dataset, the same for both, is left out.",
        how=f"Resolved by uv {version('uv')} for Python {PYTHON[0]}.{PYTHON[1]} on x86_64, sizes from the index.",
        baselines=(Baseline(name=f"`pip install {listed}`, unpinned, as it was resolved that day"),),
        rows=tuple(rows),
        limit=(
            f"What is left: {'; '.join(left)}. The least is TensorFlow and what it opens: it registers no "
            "GPU without cudart, cuBLAS, cuFFT, cuSOLVER, cuSPARSE and cuDNN (tsl/platform/default/dlopen_checker.cc), "
            f"with which it has {found['GPU'][0].indispensable:,.0f} MB. "
            "NCCL and cuRAND, which one GPU seems not to need, stay: that could not be tried without a GPU."
        ),
    )
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
