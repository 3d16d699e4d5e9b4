"""A way into the box. Enters: the run's bucket, EC2, your private key. Leaves: a paramiko client that is logged in.

The only host key that is accepted is the one the box published under the run's prefix: who can write there is decided
by IAM, and the way there is TLS. No known_hosts file is read or written, nobody is trusted on first sight.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from botocore import exceptions
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from cli.keys import OURS, YOURS, check_private, public_half
from cli.live import Instance, door, living
from cli.refusal import code_of, refused
from cli.status import read_status
from contract.errors import CloudError, ConfigError, SignspotError, StorageError
from contract.layout import RunLayout

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

USER = "ubuntu"
"""Of every Ubuntu image."""
KIND = "ssh-ed25519"
TIMEOUT_SECONDS = 15.0
"""For each of: the connection, the banner, the key exchange's answer, logging in, each answer afterwards."""
NETWORK = (exceptions.HTTPClientError, exceptions.ConnectionError)
"""AWS was not reached, or went silent."""
LOST = (SSHException, EOFError, OSError, paramiko.SFTPError)
"""A connection that stood is gone, or has been silent for too long."""


logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what goes wrong is told once, as an error of ours


class NotNow(CloudError):
    """No way in at this moment; there may be one soon."""


class NotYet(StorageError):
    """The box has not said who it is yet."""


def may_pass(error: SignspotError) -> bool:
    """Whether the same may succeed a little later, without anybody's doing."""
    return isinstance(error, (NotNow, NotYet)) or isinstance(error.__cause__, NETWORK)


@dataclass(frozen=True)
class Target:
    instance: str
    address: str
    host_key: paramiko.PKey
    port: int = 22


def find_target(s3: S3Client, ec2: Any, bucket: str, run: str) -> Target:
    """The run's box: its id from the status, else the one that lives; its address from EC2; its host key from S3.

    Raises:
        CloudError: the door is shut, the box has no address that the door's owner can reach, or AWS refuses.
        NotNow: no box lives.
        NotYet: the box has published no host key.
        StorageError: S3 refuses, or what it holds is no host key.
    """
    said = read_status(s3, bucket, run).instance
    with refused(f"AWS does not say where the box of run {run!r} is"):
        running = [instance for instance in living(ec2, run) if instance.state == "running"]
        visitors = door(ec2, run)
    box = next((one for one in running if one.id == said), running[0] if running else None)
    if box is None:
        raise NotNow(
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
        NotYet: none was published.
        StorageError: S3 refuses, or it is no ed25519 key.
    """
    key = layout.host_key(instance)
    where = f"s3://{bucket}/{key}"
    try:
        with refused(f"{where} cannot be read", StorageError):
            line = s3.get_object(Bucket=bucket, Key=key)["Body"].read(4096).decode("ascii", "replace")
    except StorageError as error:
        if code_of(error.__cause__) != "NoSuchKey":
            raise
        raise NotYet(
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
        CloudError: somebody else answers, or the box refuses the key.
        NotNow: nobody answers, or not as SSH does.
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
            raise NotNow(
                f"nobody answers at {place}, port {target.port}",
                why=str(error),
                mend="has your address changed since the deploy? compare `signspot address` with `signspot status`",
            ) from None
        except (SSHException, EOFError, OSError) as error:
            raise NotNow(f"{place} does not speak SSH as it should", why=str(error), mend="try again") from None
        yield client


@contextmanager
def within(client: paramiko.SSHClient, seconds: float) -> Iterator[None]:
    """Hangs up when this takes longer: to some answers paramiko waits for ever."""
    timer = threading.Timer(seconds, client.close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def sftp(client: paramiko.SSHClient, timeout: float = TIMEOUT_SECONDS) -> Iterator[paramiko.SFTPClient]:
    """The box's files; raises one of `LOST` when the box is silent for `timeout` seconds."""
    with within(client, timeout):
        channel = session(client, timeout)
        channel.invoke_subsystem("sftp")
        files = paramiko.SFTPClient(channel)
    with files:
        yield files


def session(client: paramiko.SSHClient, timeout: float = TIMEOUT_SECONDS) -> paramiko.Channel:
    """A channel on which each answer may take `timeout` seconds; raises one of `LOST`."""
    transport = client.get_transport()
    if transport is None:
        raise SSHException("the connection is closed")
    channel = transport.open_session(timeout=timeout)
    channel.settimeout(timeout)
    return channel


def your_key(given: Path | None, home: Path) -> Path:
    """The private key to show: the one given, else your own, else signspot's; its public half may be all there is.

    Raises:
        ConfigError: there is none.
    """
    if given:
        return given
    for private in (home / YOURS, home / OURS):
        if private.exists() or public_half(private).exists():
            return private
    raise ConfigError(
        f"there is no SSH key of yours: neither {home / YOURS} nor {home / OURS}",
        why="a box lets in the key it was deployed with",
        mend="--key PATH of its private half; or deploy with -c public_key=$(signspot key)",
    )


def _stranger(target: Target, shown: paramiko.PKey) -> CloudError:
    return CloudError(
        f"whoever answers at {target.address} is not {target.instance}; nothing was sent to it",
        why=f"it shows {shown.get_name()} {shown.fingerprint}, but the box published {target.host_key.fingerprint}",
        mend="somebody may stand between you and the box: use another network; signspot logs and status need no SSH",
    )


def _private_key(path: Path) -> paramiko.PKey:
    """The key itself, or the SSH agent's, where it is locked by a passphrase or not on this disk."""
    if not path.exists() and public_half(path).exists():
        return _agents_key(path, f"{path} is not there, and the SSH agent does not have it")
    check_private(path)
    try:
        return paramiko.Ed25519Key.from_private_key_file(str(path))
    except PasswordRequiredException:
        return _agents_key(path, f"{path} is locked by a passphrase")
    except (SSHException, ValueError, OSError) as error:
        raise ConfigError(
            f"{path} holds no ed25519 private key", why=str(error), mend="`signspot key` finds or makes one"
        ) from None


def _agents_key(path: Path, otherwise: str) -> paramiko.PKey:
    try:
        public = public_half(path).read_text(encoding="utf-8").split()[1]
    except (OSError, IndexError):
        raise ConfigError(otherwise, mend=f"write its public half: ssh-keygen -y -f {path} > {path}.pub") from None
    for key in paramiko.Agent().get_keys():
        if key.get_base64() == public:
            return key
    raise ConfigError(otherwise, mend=f"unlock it: ssh-add {path}")


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
