"""Your own SSH key. Enters: your home folder. Leaves: the path of an ed25519 public key, found or made.

The private half is written once, with mode 0600, never overwritten and never sent anywhere.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)
from pydantic import BaseModel

from contract.errors import ConfigError

YOURS = ".ssh/id_ed25519"
OURS = ".ssh/signspot_ed25519"
"""Made when you have none of your own."""
OTHERS_BITS = stat.S_IRWXG | stat.S_IRWXO


class Found(BaseModel):
    """`signspot key --json`."""

    path: str
    """Of the public half, as access.public_key takes it."""
    public_key: str
    """What is in it."""

    @classmethod
    def of(cls, path: Path) -> Found:
        return cls(path=str(path), public_key=path.read_text("utf-8", "replace").strip())


def find_key(home: Path, passphrase: str = "") -> Path:
    """The public half of your own key, else of signspot's, which is made when absent; `passphrase` locks a new one.

    Raises:
        ConfigError: a key is there but unusable: another kind, a private key in its place, open to others, unreadable.
    """
    for private in (home / YOURS, home / OURS):
        if public_half(private).exists():
            check_public(public_half(private))
            if private.exists():
                check_private(private)
            return public_half(private)
    ours = home / OURS
    try:
        if not ours.exists():
            _make(ours, passphrase)
        _write_public(ours, passphrase)
    except OSError as error:
        raise ConfigError(
            f"no key can be made in {ours.parent}",
            why=str(error),
            mend="make the folder yours, or -c public_key=PATH.pub",
        ) from None
    return public_half(ours)


def public_half(private: Path) -> Path:
    return private.with_name(f"{private.name}.pub")


def check_public(path: Path) -> None:
    """Raises ConfigError unless the file holds exactly one ed25519 public key; what it holds is not repeated."""
    text = _read(path).strip()
    if b"PRIVATE KEY" in text:
        raise ConfigError(
            f"{path} holds a private key where a public one belongs",
            why="what is in a .pub file is handed out; take this key for known to others",
            mend=f"move it away and write the public half: ssh-keygen -y -f KEY > {path}",
        )
    try:
        key = load_ssh_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{path} holds no SSH public key", mend=f"write it anew: ssh-keygen -y -f KEY > {path}"
        ) from None
    if not isinstance(key, Ed25519PublicKey) or b"\n" in text:
        raise ConfigError(
            f"{path} does not hold one ed25519 key",
            why=f"it begins with {text.split()[0].decode('ascii', 'replace')}",
            mend="move it away and `signspot key` makes one; or name another: -c public_key=PATH.pub",
        )


def check_private(path: Path) -> None:
    """Raises ConfigError when others may read the private half: SSH refuses such a key."""
    _read(path)
    mode = path.stat().st_mode
    if mode & OTHERS_BITS:
        raise ConfigError(
            f"{path} is open to others",
            why=f"its mode is {stat.S_IMODE(mode):04o}; a private key is its owner's alone",
            mend=f"chmod 600 {path}",
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", why=error.strerror or "", mend=f"ls -l {path}") from None


def _make(private: Path, passphrase: str) -> None:
    """Whole or not at all, and never over a key that is there: that of a quicker `signspot key` is taken instead."""
    lock = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, lock)
    private.parent.mkdir(mode=0o700, exist_ok=True)
    new = private.with_name(f".{private.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        with contextlib.suppress(FileExistsError):
            os.link(new, private)
    finally:
        new.unlink(missing_ok=True)


def _write_public(private: Path, passphrase: str) -> None:
    """From the private half; also when an earlier attempt ended before it was written."""
    check_private(private)
    try:
        key = load_ssh_private_key(_read(private), passphrase.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{public_half(private)} is missing and cannot be made from the private half",
            why="that is locked by a passphrase, or damaged",
            mend=f"ssh-keygen -y -f {private} > {public_half(private)}",
        ) from None
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" signspot\n"
    new = private.with_name(f".{private.name}.{os.getpid()}.pub")
    new.write_bytes(text)
    new.replace(public_half(private))
