from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.config import AccessConfig, Config
from contract.config_page import commented_toml
from contract.errors import ConfigError
from infra.data import S3Prefix
from infra.settings import key_text, overrides, read_settings, sweep_file

HOME = Path(__file__).resolve().parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3mVn3rP1m0bJ3hJ0G4k4c1Zc8mWqz3mS9yJ8kT0Q1a"


def test_the_committed_settings_file_is_the_one_its_docstrings_give() -> None:
    assert (HOME / "signspot.toml").read_text(encoding="utf-8") == commented_toml(Config())


def test_a_written_settings_file_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "data": {"path": "s3://your-bucket/signs"},
            "limits": {"max_usd": 2},
            "trainer": {"command": ['a "b"', "c"]},
        }
    )
    (tmp_path / "signspot.toml").write_text(commented_toml(config), encoding="utf-8")
    assert read_settings({}, tmp_path).config == config


@pytest.mark.parametrize(
    "key", ["@aws-cdk/core:checkSecretUsage", "aws:cdk:enable-path-metadata", "availability-zones:account=1:region=x"]
)
def test_what_belongs_to_cdk_is_no_setting_of_ours(key: str) -> None:
    assert overrides({key: True, "run": "demo", "config": "x.toml", "extend_hours": "2"}) == {"run": "demo"}


@pytest.mark.parametrize(("value", "text"), [(1.5, "1.5"), (True, "true"), (["a"], '["a"]'), ("as is", "as is")])
def test_a_context_value_that_is_no_text_becomes_json(value: Any, text: str) -> None:
    assert overrides({"x": value}) == {"x": text}


def test_without_a_file_everything_is_the_default(tmp_path: Path) -> None:
    settings = read_settings({"data.path": "s3://your-bucket/signs"}, tmp_path)
    assert settings.config.limits == Config().limits
    assert settings.data == S3Prefix("your-bucket", "signs/")


@pytest.mark.parametrize(("given", "hours"), [({}, 0), ({"extend_hours": "2"}, 2), ({"extend_hours": 1.5}, 1.5)])
def test_an_extension_is_read_from_the_command_alone(tmp_path: Path, given: dict[str, Any], hours: float) -> None:
    assert read_settings({"data.path": "s3://your-bucket/signs", **given}, tmp_path).extend_hours == hours


def test_the_data_folder_is_relative_to_the_settings_file(tmp_path: Path) -> None:
    data = tmp_path / "elsewhere/data"
    data.mkdir(parents=True)
    (data / "dataset.csv").write_text("path,label,split\na.npy,hello,train\n")
    (tmp_path / "elsewhere/mine.toml").write_text('[data]\npath = "data"\n')
    assert read_settings({"config": "elsewhere/mine.toml"}, tmp_path).data == data


def test_the_key_is_read_beside_the_settings_file_and_loses_its_comment(tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text(f"{KEY} me@laptop\n")
    assert key_text(AccessConfig(ssh_from="203.0.113.7/32", public_key="id.pub"), tmp_path) == KEY


def test_without_ssh_no_key_is_read(tmp_path: Path) -> None:
    assert key_text(AccessConfig(public_key="id.pub"), tmp_path) == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", "a private key never leaves the laptop"),
        ("ssh-ed25519", ""),
        (f"{KEY}\n{KEY}\n", ""),
        (KEY[:-9], ""),
        ("ecdsa-sha2-nistp256 AA", "it is ecdsa-sha2-nistp256"),
        ("ssh-rsa AAAAB3NzaC1yc2E", "it is ssh-rsa"),
    ],
)
@pytest.mark.parametrize("given", ["as text", "as a file"])
def test_what_is_not_one_public_key_is_refused_and_not_repeated(
    tmp_path: Path, content: str, why: str, given: str
) -> None:
    (tmp_path / "id").write_text(content)
    access = AccessConfig(ssh_from="203.0.113.7/32", public_key="id" if given == "as a file" else content)
    with pytest.raises(ConfigError, match="does not hold one") as caught:
        key_text(access, tmp_path)
    assert "BEGIN" not in str(caught.value)
    assert why in caught.value.why
    assert "signspot key" in caught.value.mend


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("\n")
    with pytest.raises(ConfigError, match="does not hold one"):
        key_text(AccessConfig(ssh_from="203.0.113.7/32", public_key="id"), tmp_path)


def test_an_open_door_without_a_key_names_the_command() -> None:
    with pytest.raises(ConfigError, match="public_key is empty") as caught:
        key_text(AccessConfig(ssh_from="203.0.113.7/32"), HOME)
    assert "-c public_key=$(signspot key)" in caught.value.mend
    assert "cdk destroy -c ssh_from=none" in caught.value.mend


def test_auto_is_resolved_before_synthesis_and_the_command_is_given() -> None:
    with pytest.raises(ConfigError, match="ssh_from is auto") as caught:
        key_text(AccessConfig(ssh_from="auto", public_key=KEY), HOME)
    assert "cdk deploy -c ssh_from=$(signspot address)" in caught.value.mend
    assert "cdk destroy -c ssh_from=none" in caught.value.mend


def test_a_key_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="neither a public key nor a file") as caught:
        key_text(AccessConfig(ssh_from="203.0.113.7/32", public_key="folder"), tmp_path)
    assert "directory" in caught.value.why


def test_a_key_that_is_nowhere_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a public key nor a file") as caught:
        key_text(AccessConfig(ssh_from="203.0.113.7/32", public_key="missing.pub"), tmp_path)
    assert "cdk destroy -c ssh_from=none" in caught.value.mend


OWN = {"data.path": "data", "code": "code", "trainer.command": '["python", "train.py"]'}


def test_a_trainer_of_ones_own_is_beside_the_settings_file_and_needs_no_table(tmp_path: Path) -> None:
    for name in ("data", "code"):
        (tmp_path / name).mkdir()
    settings = read_settings(OWN, tmp_path)
    assert (settings.config.run.code, settings.data) == (str(tmp_path / "code"), tmp_path / "data")


def test_a_trainer_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        read_settings(OWN, tmp_path)


@pytest.mark.parametrize("name", ["signspot.toml", "cdk.out"])
def test_the_whole_project_is_no_trainer(tmp_path: Path, name: str) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / name).touch()
    with pytest.raises(ConfigError, match="holds more than a trainer"):
        read_settings(OWN, tmp_path)


def test_a_trainer_of_ones_own_that_nobody_would_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.command still starts signspot's"):
        read_settings({"data.path": "s3://your-bucket/signs", "code": "code"}, tmp_path)


def test_the_file_of_a_sweep_is_found_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[budget]\ntrials = 2\n")
    assert sweep_file("mine.toml", tmp_path) == str(tmp_path / "mine.toml")
    assert sweep_file("", tmp_path) == ""


@pytest.mark.parametrize("text", [None, "trials ="])
def test_a_sweep_that_cannot_be_read_is_told_before_anything_is_created(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.toml is no sweep\.toml"):
        sweep_file("mine.toml", tmp_path)
