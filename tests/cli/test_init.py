"""`signspot init`: what it finds in a folder, and that what it writes is what it found."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.init import Found, find_dataset, find_region, init
from cli.main import app
from contract.config import load_config
from contract.errors import ConfigError
from tests.cli import schemas


@pytest.fixture(autouse=True)
def _laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that names a region, and nobody's key."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "My Signs 2").mkdir()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "My Signs 2"


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run(folder: Path, **settings: str) -> Found:
    return init(folder, folder.parent / "home", settings)


def test_a_table_is_found_and_the_next_command_is_check(folder: Path) -> None:
    put(folder / "data/mine.csv", "path,label,split,signer\n")
    put(folder / "data/hello/a.npy")
    put(folder / "clips/hello/a.mp4")
    found = run(folder)
    config = load_config(found.file)
    assert (found.dataset, config.data.path, config.data.table) == ("table", "data", "mine.csv")
    assert config.run.name == "my-signs-2"
    assert found.next == [f"cd {folder} && signspot check"]


def test_keypoints_need_a_table_first(folder: Path) -> None:
    for word in ("hello", "bye"):
        put(folder / f"Data/keypoints/{word}/signer1/a.npy")
    found = run(folder)
    assert (found.dataset, load_config(found.file).data.path) == ("keypoints", "Data/keypoints")
    assert found.next[0] == f"signspot dataset {folder / 'Data/keypoints'}"


def test_clips_need_keypoints_first(folder: Path) -> None:
    for word in ("hello", "bye"):
        put(folder / f"Data/rawVideos/{word}/a.MOV")
    found = run(folder)
    assert (found.dataset, load_config(found.file).data.path) == ("clips", "Data/keypoints")
    assert found.next[0] == f"signspot extract {folder / 'Data/rawVideos'} --to {folder / 'Data/keypoints'}"


def test_of_one_word_the_folder_above_is_meant(folder: Path) -> None:
    put(folder / "keypoints/hello/a.npy")
    assert find_dataset(folder) == ("keypoints", folder / "keypoints")


def test_an_empty_folder_is_given_a_sample(folder: Path) -> None:
    put(folder / "results/demo/x.csv", "path,label,split\n")
    put(folder / ".venv/lib/a.npy")
    put(folder / "notes.csv", "date,what\n")
    found = run(folder)
    assert found.dataset == "none" and found.next[0] == f"signspot sample {folder / 'data/sample'}"


def test_your_key_is_found_and_the_door_stays_closed(folder: Path) -> None:
    key = put(folder.parent / "home/.ssh/id_ed25519.pub", "ssh-ed25519 AAAA")
    access = load_config(run(folder).file).access
    assert (access.public_key, access.ssh_from) == (str(key), "none")


def test_what_is_there_is_not_overwritten(folder: Path) -> None:
    put(folder / "signspot.toml", "mine")
    with pytest.raises(ConfigError, match="is there already") as refused:
        run(folder)
    assert "--force" in refused.value.mend
    assert (folder / "signspot.toml").read_text() == "mine"
    init(folder, folder, {}, force=True)
    assert tomllib.loads((folder / "signspot.toml").read_text())["run"]["name"] == "my-signs-2"


def test_every_setting_is_there_with_its_comment(folder: Path) -> None:
    text = run(folder, max_usd="1.5").file.read_text()
    assert "max_usd = 1.5" in text and "# Dollars of instance time" in text
    assert "Region: eu-west-1 (named by AWS_REGION)" in text


@pytest.mark.parametrize("name", ["", "42", "ÄÖ", "-"])
def test_a_folder_that_no_run_can_be_called_by(name: str, tmp_path: Path) -> None:
    place = tmp_path / "a" / name
    place.mkdir(parents=True, exist_ok=True)
    assert init(place, tmp_path, {}).run in ("signspot", "a")


def test_the_region_is_of_the_environment_before_the_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = put(tmp_path / "aws", "[default]\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert find_region({"AWS_REGION": "eu-west-1"}) == ("eu-west-1", "AWS_REGION")
    assert find_region({}) == ("us-west-2", "profile default")
    config.write_text("")
    assert find_region({}) == (None, "nobody")


def test_the_command_and_its_json(folder: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(folder), "--json", "-c", "run=demo"])
    assert done.exit_code == 0, done.output
    schemas.check("init", done.stdout)
    assert json.loads(done.stdout)["run"] == "demo"
    told = CliRunner().invoke(app, ["init", str(folder), "--force"]).output
    assert "no dataset" in told and "signspot check" in told
    assert isinstance(CliRunner().invoke(app, ["init", str(folder / "nowhere")]).exception, ConfigError)
