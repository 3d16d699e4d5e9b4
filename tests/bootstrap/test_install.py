from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from bootstrap.install import fetch_data, install_libraries, install_trainer
from bootstrap.packages import locks
from bootstrap.state import Box
from contract.errors import StorageError, TrainerError

MakeBox = Callable[..., Box]
FILES = {"dataset.csv": b"path,label,split\n", "keypoints/añb.npy": b"\x93NUMPY", "keypoints/deep/c.npy": b"c"}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (fetch_data, install_trainer):
        monkeypatch.setattr(function.retry, "wait", wait_none())  # type: ignore[attr-defined]


def found(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_zip_is_unpacked(make_box: MakeBox, s3: Any) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, body in FILES.items():
            opened.writestr(name, body)
    s3.put_object(Bucket="bucket", Key="data.zip", Body=archive.getvalue())
    box = make_box("i-1")
    fetch_data(box)
    assert found(box.paths.training) == FILES


def test_a_zip_that_is_none_is_one_message(make_box: MakeBox, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="data.zip", Body=b"<html>")
    with pytest.raises(StorageError, match="no whole zip"):
        fetch_data(make_box("i-1"))


def test_a_prefix_is_brought_as_it_stands_and_nothing_beside_it(make_box: MakeBox, s3: Any) -> None:
    for name, body in FILES.items():
        s3.put_object(Bucket="bucket", Key=f"signs/{name}", Body=body)
    s3.put_object(Bucket="bucket", Key="signs-other/x", Body=b"x")
    s3.put_object(Bucket="bucket", Key="signs/empty-folder/", Body=b"")
    box = replace(make_box("i-1"), data="s3://bucket/signs/")
    fetch_data(box)
    assert found(box.paths.training) == FILES


def test_an_empty_prefix_is_an_error(make_box: MakeBox, s3: Any) -> None:
    with pytest.raises(StorageError, match="nothing below"):
        fetch_data(replace(make_box("i-1"), data="s3://bucket/nothing"))


def test_a_key_that_leads_out_of_the_data_folder_is_refused(make_box: MakeBox, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="signs/../../evil", Body=b"x")
    box = replace(make_box("i-1"), data="s3://bucket/signs")
    with pytest.raises(StorageError, match="outside"):
        fetch_data(box)
    assert not list(box.paths.root.rglob("evil"))


def test_packages_that_cannot_be_had_are_named_with_the_reason(make_box: MakeBox) -> None:
    box = make_box("i-1")
    uv = box.paths.venv / "bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text("#!/bin/sh\necho asked >>tries\necho 'no such index' >&2\nexit 1\n")
    uv.chmod(0o755)
    with pytest.raises(TrainerError) as caught:
        install_trainer(box)
    (lock,) = locks("train", own=False, boxes=1)
    assert lock in str(caught.value)
    assert "no such index" in str(caught.value)
    assert (box.paths.home / "tries").read_text().count("asked") == 4


def own(box: Box) -> Box:
    """With a trainer of the user's own, whose folder is empty, and uv itself."""
    paths = box.paths
    paths.code.mkdir()
    (paths.venv / "bin").mkdir(parents=True)
    (paths.venv / "bin/python").symlink_to(sys.executable)
    (paths.venv / "bin/uv").symlink_to(Path(sys.executable).parent / "uv")
    environment = {**box.environment, "UV_OFFLINE": "1", "UV_CACHE_DIR": str(paths.root / "cache")}
    run = box.config.run.model_copy(update={"code": "code"})
    return replace(box, config=box.config.model_copy(update={"run": run}), environment=environment)


def make_wheel(path: Path) -> None:
    """A package `mine` of one empty module."""
    about, kind = (
        "mine-1.0.dist-info",
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    )
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("mine.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", kind)
        wheel.writestr(f"{about}/RECORD", f"mine.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


@pytest.mark.parametrize("wanted", ["./wheels/mine-1.0-py3-none-any.whl\n", "-r more/deep.txt\n"])
def test_paths_in_the_users_requirements_count_from_the_users_folder(make_box: MakeBox, wanted: str) -> None:
    """As they do on the laptop, where `pip install -r requirements.txt` is given in that folder."""
    box = own(make_box("i-1"))
    make_wheel(box.paths.code / "wheels/mine-1.0-py3-none-any.whl")
    (box.paths.code / "more").mkdir()
    (box.paths.code / "more/deep.txt").write_text("./wheels/mine-1.0-py3-none-any.whl\n")
    (box.paths.code / "requirements.txt").write_text(wanted)
    install_trainer(box)
    assert list(box.paths.code_venv.rglob("site-packages/mine.py"))
    assert not list(box.paths.venv.rglob("mine.py")), "the agent's environment is left alone"


def test_a_project_file_in_the_users_folder_hinders_nothing(make_box: MakeBox) -> None:
    box = own(make_box("i-1"))
    (box.paths.code / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\nrequires-python = "==3.4.*"\n'
    )
    install_trainer(box)
    assert (box.paths.code_venv / "bin/python").exists()


def test_an_index_that_never_answers_is_given_up(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.packages.INSTALL_SECONDS", 0.2)
    box = make_box("i-1")
    uv = box.paths.venv / "bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text("#!/bin/sh\nexec sleep 600\n")
    uv.chmod(0o755)
    with pytest.raises(TrainerError, match="timed out after"):
        install_trainer(box)


@pytest.mark.parametrize(
    ("apt", "seconds", "why"),
    [
        ("exec sleep 600", 0.2, "apt-get took more than 0.2 s"),
        ("case $* in *install*) echo no such package >&2; exit 100;; esac", 60, "no such package"),
        ("case $* in *update) exit 100;; esac", 60, ""),
    ],
)
def test_libraries_that_cannot_be_had_are_said_and_old_lists_are_no_reason_to_end(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch, apt: str, seconds: float, why: str
) -> None:
    monkeypatch.setattr("bootstrap.install.INSTALL_SECONDS", seconds)
    monkeypatch.setattr("bootstrap.install._loads", lambda name: False)
    box = make_box("i-1")
    tool = box.paths.home / "bin/apt-get"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\n{apt}\n")
    tool.chmod(0o755)
    box = replace(box, environment={**box.environment, "PATH": f"{tool.parent}:/usr/bin:/bin"})
    with pytest.raises(TrainerError, match="libraries for clips") if why else nullcontext() as caught:
        install_libraries(box)
    assert caught is None or why in caught.value.why


def test_another_apt_that_holds_the_lists_is_waited_for(tmp_path: Path) -> None:
    """apt-get update gives up at once when another holds /var/lib/apt/lists/lock, whatever DPkg::Lock::Timeout says."""
    programs = {
        "python3": "[ -f installed ] && mkdir -p venv/bin && for it in python uv; do cp ../bin/true venv/bin/$it; done",
        "apt-get": "echo $* >>calls; case $* in *update) [ $(wc -l <calls) -eq 3 ];; *) touch installed;; esac",
        "sleep": "true",
        "true": "exit 0",
    }
    (tmp_path / "bin").mkdir()
    (tmp_path / "box").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    script = Path(__file__).parents[2] / "bootstrap/install.sh"
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    done = subprocess.run(["bash", script, tmp_path / "box"], env={"PATH": path}, check=False, timeout=30)
    assert done.returncode == 0
    calls = (tmp_path / "box/calls").read_text().splitlines()
    assert ["update" in call for call in calls] == [True, True, True, False]


@pytest.mark.parametrize("pip", ["the system's", "its own"])
@pytest.mark.parametrize(("works_at", "code", "tries"), [(3, 0, 3), (99, 1, 4)])
def test_the_agents_packages_are_asked_for_again(
    tmp_path: Path, works_at: int, code: int, tries: int, pip: str
) -> None:
    """A box whose Python comes with pip has none in its environment: making one takes three seconds."""
    programs = {
        "python3": f"""case $* in
            -c*) [ "{pip}" = "the system's" ];;
            *--target\\ uv*) mkdir -p uv/bin && cp ../bin/uv uv/bin/;;
            "-m venv --without-pip venv") mkdir -p venv/bin;;
            "-m venv venv") mkdir -p venv/bin && cp ../bin/python ../bin/uv venv/bin/;;
            *) exit 1;;
        esac""",
        "python": "exit 0",
        "uv": f"echo $* >>calls; [ $(wc -l <calls) -ge {works_at} ]",
        "sleep": "exit 0",
    }
    (tmp_path / "bin").mkdir()
    (tmp_path / "box").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    script = Path(__file__).parents[2] / "bootstrap/install.sh"
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    done = subprocess.run(["bash", script, tmp_path / "box"], env={"PATH": path}, check=False, timeout=30)
    assert done.returncode == code
    assert len((tmp_path / "box/calls").read_text().splitlines()) == tries
