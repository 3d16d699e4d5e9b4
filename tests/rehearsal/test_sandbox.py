"""A box cannot touch the host, and nothing of it survives its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rehearsal.sandbox import Kind, Sandbox, namespaces_refused
from rehearsal.workdir import Workdir

REPOSITORY = Path(__file__).parents[2]
Start = Callable[..., Sandbox]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def says(box: Sandbox, text: str) -> bool:
    return text in box.console.read_text(errors="replace").splitlines()


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    with Workdir(tmp_path) as path:
        yield path


@pytest.fixture(params=["namespaces", "processes"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param == "namespaces" and (reason := namespaces_refused(tmp_path.parent)):
        pytest.skip(reason)
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def start(workdir: Path, kind: Kind) -> Iterator[Start]:
    boxes: list[Sandbox] = []

    def start_box(script: str, **environment: str) -> Sandbox:
        work = workdir / f"box{len(boxes)}"
        box = Sandbox(work, f"#!/bin/bash\nroot=${{SIGNSPOT_ROOT:-}}\n{script}\n", environment=environment, kind=kind)
        boxes.append(box)
        box.start()
        return box

    yield start_box
    for box in boxes:
        box.kill()


def test_what_a_box_writes_stays_in_the_box(start: Start) -> None:
    box = start("mkdir -p $root/opt/ml/model && echo weights >$root/opt/ml/model/file && echo done && sleep 60")
    wait_for(lambda: says(box, "done"))
    assert not Path("/opt/ml/model/file").exists()
    assert box.path("/opt/ml/model/file").read_text() == "weights\n"
    box.kill()
    assert box.path("/opt/ml/model/file").read_text() == "weights\n"
    assert box.root.model == box.path("/opt/ml/model")


def test_a_box_that_has_hardly_begun_can_be_killed(start: Start) -> None:
    """unshare has not made its first process yet."""
    box = start("sleep 60")
    box.kill()
    assert not box.alive and not box.processes()


def test_the_hosts_files_cannot_be_changed(start: Start, kind: Kind, tmp_path: Path) -> None:
    if kind == "processes":
        pytest.skip("plain processes are kept apart by their paths only")
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    home = tmp_path / "home"
    (home / "mine").mkdir(parents=True)
    box = start(
        f"rm -rf /etc/hostname /usr/bin/env {home}; echo x >/var/tmp/box; echo x >/etc/passwd;"
        f"echo changed >{precious}; ls /etc/cron.d; echo over; sleep 60"
    )
    passwd = Path("/etc/passwd").read_bytes()
    wait_for(lambda: says(box, "over"))
    assert precious.read_text() == "untouched"
    assert (home / "mine").is_dir()
    assert Path("/usr/bin/env").exists()
    assert Path("/etc/passwd").read_bytes() == passwd
    assert not Path("/var/tmp/box").exists()


def test_a_kill_takes_every_process(start: Start) -> None:
    box = start("setsid sleep 601 & (setsid nohup sleep 602 >/dev/null 2>&1 &) ; trap '' TERM; echo up; sleep 600")
    wait_for(lambda: says(box, "up") and len([one for one in box.processes() if one.name() == "sleep"]) == 3)
    running = box.processes()
    box.kill()
    assert not [one for one in running if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not box.alive
    assert not box.powered_off
    box.kill()


def test_powering_off_ends_the_box(start: Start) -> None:
    box = start("trap 'echo saved' TERM; setsid sleep 600 & shutdown -h now; sleep 600")
    running = box.processes()
    assert box.wait(20) is not None
    assert box.powered_off
    assert says(box, "saved")
    box.kill()
    assert not [one for one in running if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_timed_shutdown_can_be_called_off(start: Start) -> None:
    box = start("shutdown -h +0; shutdown -c; shutdown -h +60; echo armed; sleep 600")
    wait_for(lambda: says(box, "armed"))
    time.sleep(0.3)
    assert box.alive or box.powered_off
    later = box.path("/run/power")
    if box.alive:
        assert 3500 < float(later.read_text()) - time.time() <= 3600


def test_a_box_lives_on_after_its_script(start: Start) -> None:
    box = start("echo over")
    wait_for(lambda: says(box, "over"))
    time.sleep(0.3)
    assert box.alive


def test_the_environment_is_given_and_clean(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-owners")
    monkeypatch.setenv("PIP_INDEX_URL", "http://mirror")
    box = start("env; cat $root/var/lib/cloud/data/instance-id; echo over", AWS_ENDPOINT_URL="http://localhost:1")
    wait_for(lambda: says(box, "over"))
    assert says(box, "AWS_ENDPOINT_URL=http://localhost:1")
    assert says(box, "PIP_INDEX_URL=http://mirror")
    assert says(box, "i-0123456789abcdef0")
    assert "the-owners" not in box.console.read_text()


def test_a_box_can_make_a_python_environment_and_has_aws(start: Start) -> None:
    box = start(
        "python3 -m venv --without-pip $root/opt/venv && $root/opt/venv/bin/python -c 'import sys; print(sys.prefix)';"
        "aws --version; echo over"
    )
    wait_for(lambda: says(box, "over"), 60)
    text = box.console.read_text()
    assert "/opt/venv\n" in text
    assert "aws-cli/" in text


def test_cron_runs_the_boxs_own_lines(start: Start, kind: Kind) -> None:
    box = start("echo '* * * * * root echo ran' >$root/etc/cron.d/signspot; ls $root/etc/cron.d; echo over; sleep 60")
    wait_for(lambda: says(box, "over"))
    listed = box.console.read_text().split()
    assert listed[: listed.index("over")] == ["signspot"]
    assert [one for one in box.processes() if "cron" in " ".join(one.cmdline())]


RUNNER = """
import sys, time
from pathlib import Path
from rehearsal.sandbox import Sandbox
from rehearsal.workdir import Workdir
workdir = Workdir(Path(sys.argv[1]))
box = Sandbox(workdir.path / "box", "#!/bin/sh\\nsetsid sleep 603 & setsid sleep 604", kind=sys.argv[2])
box.start()
while len([one for one in box.processes() if one.name() == "sleep"]) < 2:
    time.sleep(0.02)
print(*[one.pid for one in box.processes()], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("janitor", ["lives", "is killed too"])
def test_boxes_die_with_the_rehearsal_and_its_folder_is_cleared(tmp_path: Path, kind: Kind, janitor: str) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path), kind],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    pids = [int(word) for word in runner.stdout.readline().split()]
    assert len(pids) >= 3
    if janitor == "is killed too":
        for child in psutil.Process(runner.pid).children():
            if "rehearsal.workdir" in child.cmdline():
                child.kill()
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    runner.stdout.close()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5)
    if janitor == "is killed too":
        assert len(list(tmp_path.iterdir())) == 1
        with Workdir(tmp_path) as fresh:
            assert list(tmp_path.glob("signspot-rehearsal-*")) == [fresh]
    wait_for(lambda: not list(tmp_path.iterdir()), 10)


def test_an_unprivileged_container_gets_plain_processes_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unshare = tmp_path / "bin/unshare"
    unshare.parent.mkdir()
    unshare.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", f"{unshare.parent}:{os.environ['PATH']}")
    box = Sandbox(tmp_path / "box", "#!/bin/sh\n")
    assert box.kind == "processes"
    assert box.reason == "unshare: unshare failed: Operation not permitted"


def test_auto_says_what_it_chose_and_why(workdir: Path) -> None:
    box = Sandbox(workdir / "box", "#!/bin/sh\n")
    refused = namespaces_refused(workdir)
    assert box.kind == ("processes" if refused else "namespaces")
    assert box.reason == (refused or "the kernel allows it")


def test_the_laptops_package_cache_serves_the_box_and_stays_as_it_is(
    start: Start, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "wheel").write_text("cached")
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    box = start("cat $UV_CACHE_DIR/wheel; echo; echo over; sleep 60")
    wait_for(lambda: says(box, "over"))
    assert says(box, "cached")
    if kind == "namespaces":
        spoiling = start("echo spoilt >$UV_CACHE_DIR/wheel; echo over; sleep 60")
        wait_for(lambda: says(spoiling, "over"))
        assert (cache / "wheel").read_text() == "cached"
