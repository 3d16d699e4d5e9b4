"""The sshd of a box, and what cloud-init does for it at the first boot.

Enters: the instance's address and the key pair it was launched with. Leaves: a host key, an account that takes the
key, and the command that listens. EC2's public addresses are of this machine's loopback here, so that a client goes
the way it goes on AWS: address from EC2, port 22, host key from the run's bucket. A box has no sshd where this machine
has none, where it may not listen on port 22, and where its template names no key.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
USER = "ubuntu"
USER_ID = 60_000
"""Above every account of this machine: whoever logs in owns nothing that the box sees of it."""
PORT = 22
CONFIG = """\
Port {port}
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
AllowUsers {user}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
SetEnv {environment}
"""


@dataclass(frozen=True)
class Door:
    """Where a box's sshd listens, and whom it lets in."""

    address: str
    public_key: str


def any_address() -> str:
    """Of this machine's loopback, another one each time."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"  # noqa: S311


def refused() -> str:
    """Why no box of this machine can have an sshd; empty when it can."""
    if SSHD is None:
        return "OpenSSH's sshd is not installed here"
    if os.geteuid():
        return f"only root may listen on port {PORT} here"
    try:
        with socket.create_server((any_address(), PORT)):
            return ""
    except OSError as error:
        return f"port {PORT} cannot be listened on here: {error.strerror}"


def furnish(door: Door, root: Path, environment: Mapping[str, str]) -> list[str]:
    """Writes below `root`, the box's own files, what its sshd needs; returns the command.

    `environment` is that of a login: on AWS the network is all it needs to install packages.
    """
    ssh, home = root / "etc/ssh", root / "home" / USER
    for folder in (ssh, home, root / "run/sshd"):
        folder.mkdir(parents=True, exist_ok=True)
    key = ssh / "ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    (ssh / "authorized_keys").write_text(f"{door.public_key.strip()}\n", encoding="utf-8")
    words = " ".join(f'"{name}={value}"' for name, value in environment.items())
    config = CONFIG.format(port=PORT, address=door.address, user=USER, environment=words or "LANG=C.UTF-8")
    (ssh / "sshd_config").write_text(config, encoding="utf-8")
    accounts = Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
    others = [line for line in accounts if not line.startswith(f"{USER}:")]
    own = f"{USER}:*:{USER_ID}:{USER_ID}::/home/{USER}:/bin/sh"
    (root / "etc/passwd").write_text("\n".join([*others, own, ""]), encoding="utf-8")
    os.chown(home, USER_ID, USER_ID)
    return [str(SSHD), "-D", "-e", "-f", "/etc/ssh/sshd_config"]
