"""A box that boots user data: namespaces over an overlay of `/`, or plain processes below a folder.

Enters: a script, an environment and a folder of its own. Leaves: `alive`, an exit, and
everything the box wrote, readable by `path()` after its death, too. Nothing that a box in
namespaces writes reaches the host. If the rehearsal dies, its boxes die with it, and
the next one clears what they left (`workdir.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal

import psutil

from contract.box import BoxPaths
from rehearsal import sshd
from rehearsal.inside import MARKER, POWERED_OFF, kill_marked, marked
from rehearsal.workdir import Workdir, remove_tree

__all__ = ["Kind", "Sandbox", "Workdir", "namespaces_refused"]

Kind = Literal["auto", "namespaces", "processes"]
REPOSITORY = Path(__file__).parents[1]
PASSED_ON = (
    "PIP_",
    "UV_",
    "SSL_CERT_",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
"""Prefixes of the laptop's variables that a box needs to install packages the way the laptop does."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWNED = (
    "etc/cron.d",
    "home",
    "mnt",
    "opt",
    "root",
    "srv",
    "usr/local/bin",
    "usr/sbin",
    "var/lib/cloud/data",
    "var/log",
    "var/tmp",
)
"""Folders that belong to the box's root user although the host's belong to somebody else."""

KILL_SECONDS = 5.0
"""For a box to be gone; after that unshare itself is killed, and the kernel's PDEATHSIG takes the box with it."""
SHUTDOWN = """#!/bin/sh
# Powering off ends the sandbox: -h now, -h +MINUTES, -c.
power={power}
case "$*" in
*-c*) rm -f "$power" ;;
*+[0-9]*) minutes=${{*##*+}}; echo $(($(date +%s) + ${{minutes%% *}} * 60)) >"$power.new" && mv "$power.new" "$power" ;;
*) echo 0 >"$power.new" && mv "$power.new" "$power" ;;
esac
"""


PROBE = """#!/bin/sh
mkdir -p "$UV_CACHE_DIR" && touch "$UV_CACHE_DIR/.probe" && touch /opt/usable
shutdown -h now
"""
"""A folder of a group that the user namespace does not know can be seen but not written to."""


@cache
def namespaces_refused(parent: Path) -> str:
    """Why this machine cannot run a box in namespaces with its files below `parent`; empty when it can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    if shutil.which("unshare") is None:
        return "util-linux's unshare is not installed"
    with tempfile.TemporaryDirectory(prefix="signspot-probe-", dir=parent, ignore_cleanup_errors=True) as work:
        box = Sandbox(Path(work) / "box", PROBE, kind="namespaces")
        box.start()
        code = box.wait(20)
        box.kill()
        lines = box.console.read_text(errors="replace").strip().splitlines()
        usable = box.path("/opt/usable").exists()
        remove_tree(Path(work))
    if code == POWERED_OFF and usable:
        return ""
    return lines[-1] if lines else f"the first process of the box exited with {code}"


@cache
def package_index() -> dict[str, str]:
    """Variables that let a box install from what `make setup` brought, where all of it is there: no network then."""
    wheels = Path(sys.prefix) / "wheels"
    locks = ["agent", "box-gpu" if Path("/dev/nvidia0").exists() else "box"]
    requirements = [word for lock in locks for word in ("-r", str(REPOSITORY / f"requirements/{lock}.txt"))]
    uv = [str(Path(sys.prefix) / "bin/uv"), "pip", "install", "-q", "--python", sys.executable]
    with tempfile.TemporaryDirectory() as nowhere:
        dry_run = [*uv, "--offline", "--dry-run", "--target", nowhere, "--require-hashes", *requirements]
        if not wheels.is_dir() or subprocess.run(dry_run, capture_output=True, check=False).returncode:
            return {}
    return {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


class Sandbox:
    def __init__(
        self,
        work: Path,
        user_data: str,
        *,
        environment: Mapping[str, str] | None = None,
        instance_id: str = "i-0123456789abcdef0",
        kind: Kind = "auto",
        door: sshd.Door | None = None,
    ) -> None:
        self.work = work
        self.door = door
        self.user_data = user_data
        self.instance_id = instance_id
        self.reason = "asked for" if kind != "auto" else namespaces_refused(work.parent)
        self.kind: Literal["namespaces", "processes"]
        if kind == "auto":
            self.kind = "processes" if self.reason else "namespaces"
            self.reason = self.reason or "the kernel allows it"
        else:
            self.kind = kind
        self.console = work / "console.log"
        self._extra = dict(environment or {})
        self._upper = work / "upper"
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None

    def path(self, inside: str | Path) -> Path:
        """Where a file that the box wrote can be read from outside, alive or dead."""
        return self._upper / Path(inside).relative_to("/")

    @property
    def root(self) -> BoxPaths:
        """The box's paths as seen from outside."""
        return BoxPaths(self._upper)

    def environment(self) -> dict[str, str]:
        passed = {name: value for name, value in os.environ.items() if name.upper().startswith(PASSED_ON)}
        cache_home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        defaults = {
            "PATH": SYSTEM_PATH,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "UV_CACHE_DIR": str(cache_home / "uv"),
            "UV_LINK_MODE": "symlink",
            "PIP_CACHE_DIR": str(cache_home / "pip"),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        packages = {**package_index(), "UV_LINK_MODE": "symlink"}
        environment = defaults | passed | packages | {MARKER: str(self.work)} | self._extra
        if self.kind == "processes":
            environment["SIGNSPOT_ROOT"] = str(self._upper)
            environment["HOME"] = str(self.path("/root"))
            environment["TMPDIR"] = str(self._upper / "tmp")
            environment["PATH"] = f"{self.path('/usr/sbin')}:{self.path('/usr/local/bin')}:{SYSTEM_PATH}"
        return environment

    def start(self) -> None:
        self._furnish()
        environment = self.environment()
        namespaces = self.kind == "namespaces"
        rootless = os.geteuid() != 0
        description = {
            "box": str(self.work),
            "namespaces": namespaces,
            "user_namespace": rootless,
            "root": str(self.work / "root"),
            "upper": str(self._upper),
            "work": str(self.work / "overlay"),
            "home": str(Path.home()),
            "power": "/run/power" if namespaces else str(self.path("/run/power")),
            "kept": [
                str(REPOSITORY),
                sys.prefix,
                sys.base_prefix,
                environment["UV_CACHE_DIR"],
                environment["PIP_CACHE_DIR"],
            ],
            "environment": environment,
            "boot": [self._inner("/var/lib/cloud/instance/user-data.txt")],
            "services": [*self._services(rootless), *self._sshd(environment)],
        }
        (self.work / "box.json").write_text(json.dumps(description), encoding="utf-8")
        read, self._lifeline = os.pipe()
        first = [sys.executable, "-m", "rehearsal.inside", str(read), str(self.work / "box.json")]
        if namespaces:
            user = ["--user", "--map-root-user"] if rootless else []
            first = ["unshare", *user, "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--", *first]
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                first,
                env={
                    "PATH": os.environ.get("PATH", SYSTEM_PATH),
                    "PYTHONPATH": str(REPOSITORY),
                    MARKER: str(self.work),
                },
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                pass_fds=[read],
                start_new_session=True,
            )
        os.close(read)

    def _inner(self, path: str) -> str:
        return path if self.kind == "namespaces" else str(self.path(path))

    def _services(self, rootless: bool) -> list[list[str]]:
        """The machine's own cron where it can run, else ours: it needs a real root user."""
        daemon = shutil.which("cron", path=SYSTEM_PATH) or shutil.which("crond", path=SYSTEM_PATH)
        if daemon and self.kind == "namespaces" and not rootless:
            return [[daemon, "-f"]]
        folder = self._inner("/etc/cron.d")
        start = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from rehearsal.cron import main; main()"
        return [[sys.executable, "-c", start, folder]]

    def _sshd(self, environment: Mapping[str, str]) -> list[list[str]]:
        if not self.door or self.kind != "namespaces" or sshd.refused():
            return []
        packages = {name: value for name, value in environment.items() if name.upper().startswith(PASSED_ON)}
        caches = ("UV_CACHE_DIR", "PIP_CACHE_DIR")  # root's
        login = {name: value for name, value in packages.items() if name not in caches}
        return [sshd.furnish(self.door, self._upper, login)]

    def _furnish(self) -> None:
        """What a fresh instance has: cloud-init's files, a shutdown that works, `aws` and `python3`."""
        folders = [*OWNED, "run", "tmp", "var/lib/cloud/instance", "usr/local/bin", "usr/sbin"]
        for folder in folders:
            (self._upper / folder).mkdir(parents=True, exist_ok=True)
        power = "/run/power" if self.kind == "namespaces" else str(self.path("/run/power"))
        for name in ("shutdown", "poweroff", "halt"):
            self._script(f"/usr/sbin/{name}", SHUTDOWN.format(power=shlex.quote(power)))
        if not Path("/sbin").is_symlink():
            shutil.copytree(self.path("/usr/sbin"), self.path("/sbin"), dirs_exist_ok=True)
        base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        self._script("/usr/local/bin/python3", f'#!/bin/sh\nexec {shlex.quote(str(base))} "$@"\n')
        aws = Path(sys.prefix) / "bin/aws"
        self._script("/usr/local/bin/aws", f'#!/bin/sh\nexec {shlex.quote(str(aws))} "$@"\n')
        self._script("/var/lib/cloud/instance/user-data.txt", self.user_data)
        self.root.instance_id.write_text(f"{self.instance_id}\n", encoding="utf-8")
        if self.kind == "namespaces":
            self.path("/etc/crontab").touch()

    def _script(self, path: str, text: str) -> None:
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text, encoding="utf-8")
        self.path(path).chmod(0o755)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def powered_off(self) -> bool:
        return self._process is not None and self._process.poll() == POWERED_OFF

    def wait(self, seconds: float) -> int | None:
        """The exit code of the box's first process, or None if it still lives after that long."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def processes(self) -> list[psutil.Process]:
        """Everything that runs in the box, first process included."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.kind == "namespaces":
                return psutil.Process(self._process.pid).children(recursive=True)
            return [psutil.Process(pid) for pid in marked(str(self.work))]
        return []

    def kill(self) -> None:
        """The plug is pulled: SIGKILL for everything, and all of it gone on return."""
        if self._process is None:
            return
        if self.kind == "processes":
            kill_marked(str(self.work))
        deadline = time.monotonic() + KILL_SECONDS
        while self.kind == "namespaces" and self.alive and time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess):
                for first in psutil.Process(self._process.pid).children():  # none yet, where unshare has just begun
                    first.send_signal(signal.SIGKILL)  # pid 1: the kernel kills the namespace and unshare waits for it
            time.sleep(0.01)
        self._process.kill()
        self._process.wait()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
