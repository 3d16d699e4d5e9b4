"""`signspot ssh`: OpenSSH's client, or paramiko, trusts the published host key alone and does what the box is told."""

from __future__ import annotations

import base64
import getpass
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import paramiko
import pytest

from cli.keys import find_key
from cli.shell import open_shell, way_in
from cli.ssh import Target, your_key
from contract.errors import CloudError, ConfigError
from tests.cli.boxes import FakeBox, new_key, real_sshd
from tests.cli.schemas import check

OPENSSH = "ssh"
PARAMIKO = "no ssh"


@pytest.fixture(params=[OPENSSH, PARAMIKO])
def client(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which client speaks; this laptop has a home whose settings would trust anybody."""
    if request.param == PARAMIKO:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    elif not shutil.which("ssh"):
        pytest.skip("OpenSSH's client is not installed here")
    home = tmp_path / "home"
    (home / ".ssh/config").write_text("Host *\n  StrictHostKeyChecking no\n  ProxyCommand false\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return str(request.param)


def test_a_command_runs_there_and_its_exit_code_is_ours(
    box: FakeBox, private: Path, client: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert open_shell(box.target, private, ["echo", "one;", "echo", "two", ">&2;", "exit", "7"]) == 7
    assert capfd.readouterr() == ("one\n", "two\n")
    assert set(box.server.tried) == {"ubuntu"}


def test_a_stranger_gets_nothing_and_is_told(
    box: FakeBox, private: Path, client: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stranger = new_key(tmp_path / "stranger")
    known = tmp_path / "home/.ssh/known_hosts"
    known.write_text(f"[127.0.0.1]:{box.port} ssh-ed25519 {box.host_key.get_base64()}\n")
    before = known.read_text()
    with pytest.raises(CloudError, match="is not i-1") as caught:
        open_shell(Target("i-1", "127.0.0.1", stranger, box.port), private, ["true"])
    assert box.host_key.fingerprint in caught.value.why
    assert not box.server.tried
    assert known.read_text() == before


def test_a_key_that_the_box_does_not_know_is_told(box: FakeBox, private: Path, client: str) -> None:
    box.server.public = "somebody else's"
    with pytest.raises(CloudError, match="does not let you in"):
        open_shell(box.target, private, ["true"])


def test_a_command_that_itself_ends_with_255_is_no_error_of_ours(box: FakeBox, private: Path, client: str) -> None:
    assert open_shell(box.target, private, ["exit", "255"]) == 255


def test_nothing_of_it_is_left_on_this_laptop(
    box: FakeBox, private: Path, client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    before = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert open_shell(box.target, private, ["true"]) == 0
    assert not list((tmp_path / "tmp").iterdir())
    assert {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()} == before


SHELL = """
import sys
from pathlib import Path
import paramiko
from cli.shell import open_shell
from cli.ssh import Target
key = paramiko.Ed25519Key.from_private_key_file(sys.argv[1])
sys.exit(open_shell(Target("i-1", "127.0.0.1", key, int(sys.argv[2])), Path(sys.argv[3]), ()))
"""


def test_a_shell_takes_what_is_typed(box: FakeBox, private: Path, client: str) -> None:
    """In a process of its own, on a terminal of its own."""
    above, below = pty.openpty()
    host = box.paths.root / "host/.ssh/signspot_ed25519"
    process = subprocess.Popen(
        [sys.executable, "-c", SHELL, str(host), str(box.port), str(private)],
        stdin=below,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(below)
    assert process.stdout
    os.write(above, b"echo marked-$((6*7)); exit 3\n")
    said = process.stdout.read()
    assert process.wait(30) == 3, said
    assert b"marked-42" in said
    process.stdout.close()
    os.close(above)


def test_a_real_sshd_with_either_client(
    private: Path, client: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with real_sshd(tmp_path / "sshd", private) as target:
        assert open_shell(target, private, ["echo", "hello;", "exit", "5"], getpass.getuser()) == 5
        assert capfd.readouterr().out == "hello\n"
        stranger = Target("i-1", "127.0.0.1", new_key(tmp_path / "stranger"), target.port)
        with pytest.raises(CloudError, match="is not i-1"):
            open_shell(stranger, private, ["true"], getpass.getuser())


def test_json_says_how_another_client_gets_in(box: FakeBox) -> None:
    found = check("ssh", way_in(box.target).model_dump_json())
    kind, encoded = found["host_key"].split()
    assert kind == "ssh-ed25519"
    assert paramiko.Ed25519Key(data=base64.b64decode(encoded)) == box.host_key
    assert (found["instance"], found["user"], found["port"]) == ("i-1", "ubuntu", box.port)
    assert json.loads(way_in(box.target).model_dump_json()) == found


def test_the_key_is_the_one_given_else_yours_else_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no SSH key of yours") as caught:
        your_key(None, tmp_path)
    assert "--key PATH" in caught.value.mend
    ours = find_key(tmp_path).with_suffix("")
    assert your_key(None, tmp_path) == ours
    yours = tmp_path / ".ssh/id_ed25519.pub"
    yours.write_text("its private half is with the agent")
    assert your_key(None, tmp_path) == tmp_path / ".ssh/id_ed25519"
    assert your_key(ours, tmp_path) == ours
