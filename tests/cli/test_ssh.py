"""The host key that the box published is the only one that opens a session; what else answers is told to a person."""

from __future__ import annotations

import getpass
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import paramiko
import pytest

from cli.keys import find_key
from cli.ssh import TIMEOUT_SECONDS, USER, Target, connect, find_target, published_host_key
from contract.errors import CloudError, ConfigError, StorageError
from contract.layout import RunLayout
from contract.status import Phase, Status
from tests.cli.boxes import Server, new_key, real_sshd

LAYOUT = RunLayout("demo")


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return find_key(tmp_path).with_suffix("")


@pytest.fixture
def host(tmp_path: Path) -> paramiko.PKey:
    return new_key(tmp_path / "host")


@pytest.fixture
def stranger(tmp_path: Path) -> paramiko.PKey:
    return new_key(tmp_path / "stranger")


Serve = Callable[[paramiko.PKey, str], tuple[int, Server]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    listeners: list[socket.socket] = []
    transports: list[paramiko.Transport] = []

    def serve(key: paramiko.PKey, public: str) -> tuple[int, Server]:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        server = Server(public)

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transports.append(transport)
            transport.add_server_key(key)
            transport.start_server(event=threading.Event(), server=server)

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1], server

    yield serve
    for one in (*transports, *listeners):
        one.close()


def public_of(private: Path) -> str:
    return private.with_suffix(".pub").read_text()


def knock(target: Target, private: Path, user: str = USER, timeout: float = TIMEOUT_SECONDS) -> None:
    with connect(target, private, user, timeout):
        pass


def test_the_published_key_opens_a_session(private: Path, host: paramiko.PKey, serve: Serve) -> None:
    port, server = serve(host, public_of(private))
    with connect(Target("i-1", "127.0.0.1", host, port), private) as client:
        transport = client.get_transport()
        assert transport is not None and transport.is_authenticated()
    assert set(server.tried) == {"ubuntu"}


def test_another_key_is_refused_before_anything_is_sent(
    private: Path, host: paramiko.PKey, stranger: paramiko.PKey, serve: Serve
) -> None:
    port, server = serve(stranger, public_of(private))
    with pytest.raises(CloudError, match="is not i-1") as caught:
        knock(Target("i-1", "127.0.0.1", host, port), private)
    assert stranger.fingerprint in caught.value.why and host.fingerprint in caught.value.why
    assert "another network" in caught.value.mend
    assert not server.tried


def test_a_key_of_another_kind_is_refused(private: Path, host: paramiko.PKey, serve: Serve) -> None:
    port, server = serve(paramiko.ECDSAKey.generate(), public_of(private))
    with pytest.raises(CloudError, match="is not i-1") as caught:
        knock(Target("i-1", "127.0.0.1", host, port), private)
    assert "ecdsa-sha2-nistp256" in caught.value.why
    assert not server.tried


def test_known_hosts_of_the_laptop_open_nothing(
    private: Path, host: paramiko.PKey, stranger: paramiko.PKey, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _ = serve(stranger, public_of(private))
    home = private.parents[1]
    known = f"[127.0.0.1]:{port} ssh-ed25519 {stranger.get_base64()}\n"
    (home / ".ssh/known_hosts").write_text(known)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(CloudError, match="is not i-1"):
        knock(Target("i-1", "127.0.0.1", host, port), private)
    assert (home / ".ssh/known_hosts").read_text() == known


def test_a_box_that_does_not_know_the_key_says_how_to_mend_it(private: Path, host: paramiko.PKey, serve: Serve) -> None:
    port, server = serve(host, "somebody else's")
    with pytest.raises(CloudError, match="does not let you in") as caught:
        knock(Target("i-1", "127.0.0.1", host, port), private)
    assert server.tried
    assert "public_key=PATH.pub" in caught.value.mend


def test_nobody_answers(private: Path, host: paramiko.PKey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CloudError, match="nobody answers") as caught:
        knock(Target("i-1", "127.0.0.1", host, port), private)
    assert "signspot address" in caught.value.mend


def test_who_accepts_and_says_nothing_is_given_up(private: Path, host: paramiko.PKey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(CloudError) as caught:
            knock(Target("i-1", "127.0.0.1", host, listener.getsockname()[1]), private, timeout=0.5)
    assert time.monotonic() - began < 10
    assert "i-1 (127.0.0.1)" in caught.value.what


def test_a_private_key_that_is_open_to_others_is_not_used(private: Path, host: paramiko.PKey) -> None:
    private.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        knock(Target("i-1", "127.0.0.1", host), private)


def test_a_locked_key_without_an_agent_says_how_to_unlock_it(
    tmp_path: Path, host: paramiko.PKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "locked").mkdir()
    locked = find_key(tmp_path / "locked", "secret").with_suffix("")
    with pytest.raises(ConfigError, match="locked by a passphrase") as caught:
        knock(Target("i-1", "127.0.0.1", host), locked)
    assert "ssh-add" in caught.value.mend


def publish(s3: Any, host: paramiko.PKey, instance: str) -> None:
    body = f"ssh-ed25519 {host.get_base64()} root@box\n"
    s3.put_object(Bucket="bucket", Key=LAYOUT.host_key(instance), Body=body)


def test_the_host_key_is_read_as_the_box_published_it(s3: Any, host: paramiko.PKey) -> None:
    publish(s3, host, "i-1")
    assert published_host_key(s3, "bucket", LAYOUT, "i-1") == host


def test_a_missing_host_key_is_refused_with_what_why_and_how(s3: Any) -> None:
    with pytest.raises(StorageError, match="published no host key") as caught:
        published_host_key(s3, "bucket", LAYOUT, "i-1")
    assert "still booting" in caught.value.why
    assert "signspot logs demo --boot" in caught.value.mend


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2E=", "é"]
)
def test_what_is_no_host_key_is_refused(s3: Any, line: str) -> None:
    s3.put_object(Bucket="bucket", Key=LAYOUT.host_key("i-1"), Body=line.encode())
    with pytest.raises(StorageError, match="holds no ssh-ed25519 host key"):
        published_host_key(s3, "bucket", LAYOUT, "i-1")


@pytest.fixture
def launch(s3: Any) -> Callable[..., str]:
    """An instance of the run, with a door."""
    ec2 = boto3.client("ec2")
    tags = [{"Key": "signspot:run", "Value": "demo"}]

    def launch(ssh_from: str = "203.0.113.7/32") -> str:
        group = ec2.create_security_group(
            GroupName="door",
            Description="door",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )["GroupId"]
        if ssh_from:
            rule: Any = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": ssh_from}]}
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        return ec2.run_instances(
            ImageId="ami-12345678",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )["Instances"][0]["InstanceId"]

    return launch


def test_the_box_is_found_by_its_status_ec2_and_its_published_key(
    s3: Any, launch: Callable[..., str], host: paramiko.PKey
) -> None:
    instance, ec2 = launch(), boto3.client("ec2")
    status = Status(run="demo", phase=Phase.TRAINING, instance=instance, heartbeat=datetime.now(UTC))
    s3.put_object(Bucket="bucket", Key=LAYOUT.status, Body=status.model_dump_json())
    publish(s3, host, instance)
    found = find_target(s3, ec2, "bucket", "demo")
    address = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["PublicIpAddress"]
    assert found == Target(instance, address, host)


def test_a_box_that_has_no_status_yet_is_found_too(s3: Any, launch: Callable[..., str], host: paramiko.PKey) -> None:
    instance = launch()
    publish(s3, host, instance)
    assert find_target(s3, boto3.client("ec2"), "bucket", "demo").instance == instance


def test_a_box_that_is_gone_has_no_address(s3: Any, launch: Callable[..., str]) -> None:
    ec2 = boto3.client("ec2")
    ec2.terminate_instances(InstanceIds=[launch()])
    with pytest.raises(CloudError, match="no instance of run 'demo' is running") as caught:
        find_target(s3, ec2, "bucket", "demo")
    assert "signspot logs demo" in caught.value.mend


def test_a_closed_door_is_said_before_anybody_knocks(s3: Any, launch: Callable[..., str]) -> None:
    launch(ssh_from="")
    with pytest.raises(CloudError, match="closed to everybody"):
        find_target(s3, boto3.client("ec2"), "bucket", "demo")


@pytest.fixture
def sshd(tmp_path: Path, private: Path) -> Iterator[Target]:
    with real_sshd(tmp_path / "sshd", private) as target:
        yield target


def test_a_real_sshd_with_the_published_key_runs_a_command(sshd: Target, private: Path) -> None:
    with connect(sshd, private, user=getpass.getuser()) as client:
        assert client.exec_command("echo hello")[1].read() == b"hello\n"


def test_a_real_sshd_with_another_key_is_refused(sshd: Target, private: Path, stranger: paramiko.PKey) -> None:
    with pytest.raises(CloudError, match="is not i-1"):
        knock(Target("i-1", "127.0.0.1", stranger, sshd.port), private, user=getpass.getuser())
