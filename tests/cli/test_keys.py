"""Your own key: found, made once, never overwritten; what is wrong with it is said without showing it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cli.keys import find_key
from contract.errors import ConfigError
from tests.cli import schemas


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


def own_key(home: Path, mode: int = 0o600) -> Path:
    key = Ed25519PrivateKey.generate()
    private = home / ".ssh/id_ed25519"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    private.chmod(mode)
    public = home / ".ssh/id_ed25519.pub"
    public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" me@laptop\n")
    return public


def test_your_own_key_comes_first_and_nothing_is_made(home: Path) -> None:
    public = own_key(home)
    assert find_key(home) == public
    assert {path.name for path in (home / ".ssh").iterdir()} == {"id_ed25519", "id_ed25519.pub"}


def test_without_one_a_key_is_made_that_only_you_can_read(tmp_path: Path) -> None:
    public = find_key(tmp_path)
    private = tmp_path / ".ssh/signspot_ed25519"
    assert public == tmp_path / ".ssh/signspot_ed25519.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    made = paramiko.Ed25519Key.from_private_key_file(str(private))
    assert public.read_text().split()[:2] == ["ssh-ed25519", made.get_base64()]
    assert {path.name for path in private.parent.iterdir()} == {private.name, public.name}


def test_a_made_key_is_found_again_and_not_overwritten(home: Path) -> None:
    public = find_key(home)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in sorted((home / ".ssh").iterdir())]
    assert find_key(home) == public
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in sorted((home / ".ssh").iterdir())] == before


def test_a_lost_public_half_is_made_from_the_private_one(home: Path) -> None:
    public = find_key(home)
    before = public.read_bytes()
    public.unlink()
    assert find_key(home).read_bytes() == before


def test_two_at_once_agree_on_one_key(home: Path) -> None:
    found: list[bytes] = []
    code = "import sys, pathlib; from cli.keys import find_key; print(find_key(pathlib.Path(sys.argv[1])).read_text())"
    starts = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        for _ in range(3)
    ]
    readers = [threading.Thread(target=lambda one=one: found.append(one.communicate()[0])) for one in starts]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert {path.name for path in (home / ".ssh").iterdir()} == {"signspot_ed25519", "signspot_ed25519.pub"}


def test_a_passphrase_is_used_when_it_is_asked_for(home: Path) -> None:
    find_key(home, "correct horse")
    private = str(home / ".ssh/signspot_ed25519")
    with pytest.raises(paramiko.PasswordRequiredException):
        paramiko.Ed25519Key.from_private_key_file(private)
    assert paramiko.Ed25519Key.from_private_key_file(private, "correct horse").can_sign()
    (home / ".ssh/signspot_ed25519.pub").unlink()
    with pytest.raises(ConfigError, match="cannot be made from the private half") as caught:
        find_key(home)
    assert "ssh-keygen -y" in caught.value.mend


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_private_half_that_is_open_to_others_is_refused(home: Path, mode: int) -> None:
    own_key(home, mode)
    with pytest.raises(ConfigError, match="open to others") as caught:
        find_key(home)
    assert f"{mode:04o}" in caught.value.why
    assert "chmod 600" in caught.value.mend


def test_a_private_key_in_place_of_the_public_one_is_refused_and_not_shown(home: Path) -> None:
    public = own_key(home)
    secret = (home / ".ssh/id_ed25519").read_text()
    public.write_text(secret)
    with pytest.raises(ConfigError, match="private key where a public one belongs") as caught:
        find_key(home)
    assert not any(line in str(caught.value) for line in secret.split("\n") if line)


def test_rsa_is_refused_by_name(home: Path) -> None:
    rsa = generate_private_key(65537, 2048).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (home / ".ssh/id_ed25519.pub").write_bytes(rsa)
    with pytest.raises(ConfigError, match="not hold one ed25519 key") as caught:
        find_key(home)
    assert "ssh-rsa" in caught.value.why


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"ssh-ed25519 AAAA"])
def test_what_is_no_key_is_refused(home: Path, content: bytes) -> None:
    (home / ".ssh/id_ed25519.pub").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no SSH public key"):
        find_key(home)


def test_what_cannot_be_read_is_one_message(home: Path) -> None:
    (home / ".ssh/id_ed25519.pub").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        find_key(home)


def test_a_folder_that_takes_no_key_is_one_message(tmp_path: Path) -> None:
    (tmp_path / ".ssh").write_text("a file")
    with pytest.raises(ConfigError, match="no key can be made"):
        find_key(tmp_path)


def test_the_command_prints_the_path_alone_so_that_cdk_can_take_it(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "cli", "key"],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
        check=True,
    )
    assert shown.stdout == f"{tmp_path}/.ssh/signspot_ed25519.pub\n"


def test_a_key_is_told_as_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli", "key", "--json"]
    done = subprocess.run(
        command, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    key = schemas.check("key", done.stdout)
    assert key == {"path": str(find_key(tmp_path)), "public_key": find_key(tmp_path).read_text().strip()}
