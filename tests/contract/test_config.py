from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.config import Config, LimitsConfig, leaves, load_config, override_names
from contract.docstrings import field_docstrings
from contract.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "signspot.toml"
    path.write_text(text)
    return path


def test_every_default_is_valid_and_documented() -> None:
    config = load_config(None)
    assert config == Config()
    for section, name in leaves():
        assert field_docstrings(type(getattr(config, section)))[name], f"{section}.{name}"


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[run]\nname = "file"\n[limits]\nmax_usd = 2.0\n')
    config = load_config(path, {"run": "demo", "max_usd": "1.50", "machine.instance_types": '["g5.xlarge"]'})
    assert config.run.name == "demo"
    assert config.limits.max_usd == 1.5
    assert config.machine.instance_types == ("g5.xlarge",)


def test_a_text_setting_takes_text_that_looks_like_a_number() -> None:
    assert load_config(None, {"table": "2024"}).data.table == "2024"


def test_every_leaf_has_a_dotted_path_and_unique_names_are_enough() -> None:
    names = override_names()
    assert all(f"{section}.{name}" in names for section, name in leaves())
    assert names["max_usd"] == ("limits", "max_usd")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"epoch": "3"}, ["-c epoch=3", "did you mean 'epochs'"]),
        ({"max_hours": "8h"}, ["limits.max_hours", "'8h'"]),
        ({"max_hours": "500"}, ["limits.max_hours", "168"]),
        ({"max_usd": "0.05"}, ["5.7 minutes", "fewer than 10"]),
        ({"max_usd": "nan"}, ["limits.max_usd"]),
        ({"ssh_from": "0.0.0.0/0", "public_key": "x"}, ["4,294,967,296 addresses"]),
        ({"ssh_from": "::/0", "public_key": "x"}, ["addresses knock"]),
        ({"ssh_from": "10.0.0.0/24", "public_key": "x"}, ["256 addresses"]),
        ({"ssh_from": "here"}, ["'here' is not an address"]),
        ({"ssh_from": "203.0.113.7/24"}, ["is not an address", "host bits"]),
        ({"ssh_from": "0.0.0.0/0", "i_know_that_ssh_is_open_to_many_addresses": "true"}, ["4,294,967,296 addresses"]),
        ({"ssh_from": "::/0", "i_know_that_ssh_is_open_to_many_addresses": "true"}, ["addresses knock"]),
        ({"run": "Has Blanks"}, ["run.name", "Has Blanks"]),
        ({"instance_types": "g4dn.xlarge"}, ["machine.instance_types"]),
        ({"email": "nobody"}, ["notify.email"]),
        ({"monthly_budget_usd": "5"}, ["email is empty"]),
        ({"dropout": "1"}, ["trainer.dropout"]),
    ],
)
def test_a_wrong_setting_gets_one_message_that_names_it(overrides: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nmax_usdd = 1\n", ["limits.max_usdd", "did you mean 'max_usd'"]),
        ("[limit]\nmax_usd = 1\n", ["limit: there is no such setting", "'limits'"]),
        ("[limits\n", ["cannot be read"]),
        ("limits = 3\n", ["limits"]),
    ],
)
def test_a_wrong_file_gets_one_message_that_names_the_place(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    for word in [*words, "signspot.toml"]:
        assert word in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.toml")


def test_one_address_is_accepted_and_normalised() -> None:
    config = load_config(None, {"ssh_from": "203.0.113.7", "public_key": "ssh-ed25519 AAAA"})
    assert config.access.ssh_from == "203.0.113.7/32"
    assert config.access.ssh
    assert load_config(None, {"ssh_from": "2001:db8::1", "public_key": "k"}).access.ssh_from == "2001:db8::1/128"


def test_more_than_one_address_needs_the_ugly_setting() -> None:
    config = load_config(None, {"ssh_from": "10.0.0.0/24", "i_know_that_ssh_is_open_to_many_addresses": "true"})
    assert config.access.addresses == 256


@pytest.mark.parametrize(("ssh_from", "addresses"), [("none", 0), ("auto", 1), ("2001:db8::1", 1)])
def test_the_door_is_open_to_so_many(ssh_from: str, addresses: int) -> None:
    access = load_config(None, {"ssh_from": ssh_from}).access
    assert (access.ssh, access.addresses) == (addresses > 0, addresses)


@given(hours=st.floats(0.2, 168), usd=st.floats(0.5, 1000), price=st.floats(0.05, 2).filter(lambda p: p > 0.05))
def test_the_ceiling_is_never_above_max_usd_nor_past_max_hours(hours: float, usd: float, price: float) -> None:
    limits = LimitsConfig(max_hours=hours, max_usd=usd, max_price_per_hour=price)
    assert limits.hours(1) <= hours
    assert limits.hours(1) * price <= usd * (1 + 1e-12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"boxes": "3"}, "one model is trained on one box"),
        ({"job": "extract"}, "run.job=extract is for several boxes"),
        ({"boxes": "3", "job": "sweep"}, "run.sweep names no file"),
        ({"boxes": "65", "job": "extract"}, "less than or equal to 64"),
        ({"head_type": "t3.large"}, "burstable"),
        ({"boxes": "64", "job": "extract"}, "fewer than 10"),
    ],
)
def test_what_no_cluster_can_be(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, settings)


def test_the_dollars_of_a_cluster_are_shared() -> None:
    config = load_config(None, {"boxes": "3", "job": "extract"})
    assert config.hours == pytest.approx(5 / (3 * 0.526 + 0.086))
    assert load_config(None, {}).hours == 8
