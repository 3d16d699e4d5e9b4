"""A way into the box. Enters: the run's bucket, EC2, your private key. Leaves: a paramiko client that is logged in.

The only host key that is accepted is the one the box published under the run's prefix: who can write there is decided
by IAM, and the way there is TLS. No known_hosts file is read or written, nobody is trusted on first sight.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from cli.keys import check_private
from cli.live import Instance, door, living
from cli.refusal import code_of, refused
from cli.status import read_status
from contract.errors import CloudError, ConfigError, StorageError
from contract.layout import RunLayout

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

USER = "ubuntu"
"""Of every Ubuntu image."""
KIND = "ssh-ed25519"
TIMEOUT_SECONDS = 15.0
"""For each of: the connection, the banner, the key exchange's answer, logging in."""


logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what goes wrong is told once, as an error of ours


@dataclass(frozen=True)
class Target:
    instance: str
    address: str
    host_key: paramiko.PKey
    port: int = 22


def find_target(s3: S3Client, ec2: Any, bucket: str, run: str) -> Target:
    """The run's box: its id from the status, else the one that lives; its address from EC2; its host key from S3.

    Raises:
        CloudError: no box lives, the door is shut, or it has no address that the door's owner can reach.
        StorageError: S3 refuses, or holds no host key of it.
    """
    said = read_status(s3, bucket, run).instance
    with refused(f"AWS does not say where the box of run {run!r} is"):
        running = [instance for instance in living(ec2, run) if instance.state == "running"]
        visitors = door(ec2, run)
    box = next((one for one in running if one.id == said), running[0] if running else None)
    if box is None:
        raise CloudError(
            f"no instance of run {run!r} is running", mend=f"signspot status {run}; signspot logs {run} needs none"
        )
    if not visitors:
        raise CloudError(
            f"port 22 of {box.id} is closed to everybody",
            why="access.ssh_from is none",
            mend="cdk deploy -c ssh_from=$(signspot address) -c public_key=$(signspot key), and what you deployed with",
        )
    return Target(box.id, _address(box, visitors), published_host_key(s3, bucket, RunLayout(run), box.id))


def published_host_key(s3: S3Client, bucket: str, layout: RunLayout, instance: str) -> paramiko.PKey:
    """The one key that this instance may show.

    Raises:
        StorageError: none was published, S3 refuses, or it is no ed25519 key.
    """
    key = layout.host_key(instance)
    where = f"s3://{bucket}/{key}"
    try:
        with refused(f"{where} cannot be read", StorageError):
            line = s3.get_object(Bucket=bucket, Key=key)["Body"].read(4096).decode("ascii", "replace")
    except StorageError as error:
        if code_of(error.__cause__) != "NoSuchKey":
            raise
        raise StorageError(
            f"{instance} has published no host key, so whoever answers there is not to be trusted",
            why=f"{where} is not there: the box is still booting, or its image has no sshd",
            mend=f"wait a minute and try again; signspot logs {layout.run} --boot says how far it is",
        ) from None
    try:
        kind, encoded, *_ = line.split()
        if kind != KIND:
            raise ValueError(kind)
        return paramiko.Ed25519Key(data=base64.b64decode(encoded, validate=True))
    except (ValueError, SSHException):
        raise StorageError(
            f"{where} holds no {KIND} host key", mend="trust nobody who answers there; signspot logs needs no SSH"
        ) from None


@contextmanager
def connect(
    target: Target, private: Path, user: str = USER, timeout: float = TIMEOUT_SECONDS
) -> Iterator[paramiko.SSHClient]:
    """A client that is logged in; closed afterwards. `timeout` in seconds, for each step.

    Raises:
        ConfigError: the private key is unusable.
        CloudError: nobody answers, somebody else answers, or the box refuses the key.
    """
    place = f"{target.instance} ({target.address})"
    key = _private_key(private)
    with paramiko.SSHClient() as client:
        name = target.address if target.port == 22 else f"[{target.address}]:{target.port}"
        client.get_host_keys().add(name, KIND, target.host_key)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.connect(
                target.address,
                target.port,
                user,
                pkey=key,
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
                channel_timeout=timeout,
                allow_agent=False,
                look_for_keys=False,
            )
        except BadHostKeyException as error:
            raise _stranger(target, error.key) from None
        except AuthenticationException as error:
            raise CloudError(
                f"{place} does not let you in with {private}",
                why=str(error),
                mend="deploy with its public half, -c public_key=PATH.pub; a box reads that when it is launched",
            ) from None
        except (NoValidConnectionsError, TimeoutError) as error:
            raise CloudError(
                f"nobody answers at {place}, port {target.port}",
                why=str(error),
                mend="has your address changed since the deploy? compare `signspot address` with `signspot status`",
            ) from None
        except (SSHException, EOFError, OSError) as error:
            raise CloudError(f"{place} does not speak SSH as it should", why=str(error), mend="try again") from None
        yield client


def _stranger(target: Target, shown: paramiko.PKey) -> CloudError:
    return CloudError(
        f"whoever answers at {target.address} is not {target.instance}; nothing was sent to it",
        why=f"it shows {shown.get_name()} {shown.fingerprint}, but the box published {target.host_key.fingerprint}",
        mend="somebody may stand between you and the box: use another network; signspot logs and status need no SSH",
    )


def _private_key(path: Path) -> paramiko.PKey:
    """The key itself, or the SSH agent's, where it is locked by a passphrase."""
    check_private(path)
    try:
        return paramiko.Ed25519Key.from_private_key_file(str(path))
    except PasswordRequiredException:
        public = path.with_name(f"{path.name}.pub").read_text(encoding="utf-8").split()[1]
        for key in paramiko.Agent().get_keys():
            if key.get_base64() == public:
                return key
        raise ConfigError(f"{path} is locked by a passphrase", mend=f"unlock it: ssh-add {path}") from None
    except (SSHException, ValueError, OSError) as error:
        raise ConfigError(
            f"{path} holds no ed25519 private key", why=str(error), mend="`signspot key` finds or makes one"
        ) from None


def _address(box: Instance, visitors: tuple[str, ...]) -> str:
    """The box's address of the kind that the door is open to."""
    versions = {ipaddress.ip_network(visitor).version for visitor in visitors if "/" in visitor}
    for address in box.addresses:
        if not versions or ipaddress.ip_address(address).version in versions:
            return address
    raise CloudError(
        f"{box.id} has no public address that {', '.join(visitors)} could reach",
        why=f"its addresses: {', '.join(box.addresses) or 'none'}",
        mend="signspot logs needs no SSH",
    )
