"""A root of its own for a process: every directory of `/` overlaid, writes landing below `upper`.

Enters: an empty mount point and an `upper` folder, inside fresh mount and pid namespaces.
Leaves: this process, pivoted into the new root. Directories without mounts below them become
overlays; others are rebuilt child by child, because the kernel refuses to overlay a tree that
holds locked mounts. /dev, /proc, /run and /tmp are new; the owner's secrets are hidden.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

BIND, RECURSIVE, PRIVATE, REMOUNT, READ_ONLY, DETACH = 4096, 16384, 1 << 18, 32, 1, 2

FRESH = {"run", "tmp"}
LEFT_OUT = {"boot", "dev", "lost+found", "proc", "sys"}
HIDDEN = (
    "etc/cron.d",
    "etc/cron.hourly",
    "etc/cron.daily",
    "etc/cron.weekly",
    "etc/cron.monthly",
    "etc/ssh",
    "var/spool/cron",
)
"""Folders that start empty: the cron jobs and the host keys of the host are not the box's."""
SECRETS = (".aws", ".ssh", ".gnupg", ".netrc")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {kind or 'bind'} {source}: {os.strerror(error)}", str(target))


def mount_points() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]


def bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    mount(source, target, flags=BIND | RECURSIVE)
    if read_only:
        for point in [one for one in mount_points() if one.is_relative_to(target)]:
            # Flags such as nosuid are locked in a user namespace and must be repeated.
            kept = os.statvfs(point).f_flag & (
                os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_RELATIME
            )
            flags = kept & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
            flags |= 1024 if kept & os.ST_NOATIME else 0
            flags |= 1 << 21 if kept & os.ST_RELATIME else 0
            mount("none", point, flags=BIND | REMOUNT | READ_ONLY | flags)


class NewRoot:
    def __init__(self, root: Path, upper: Path, work: Path, home: Path, kept: list[Path], user_namespace: bool) -> None:
        self.root = root
        self.upper = upper
        self.work = work
        self.home = home
        self.kept = kept
        self.options = "userxattr," if user_namespace else ""
        self.user_namespace = user_namespace
        self.points = mount_points()

    def build(self) -> None:
        for entry in sorted(Path("/").iterdir()):
            if entry.name in FRESH:
                self._fresh(entry)
            elif entry.name not in LEFT_OUT:
                self._graft(entry)
        self._keep()
        for name in HIDDEN:
            if (self.root / name).is_dir():
                self._fresh(Path("/") / name)
        for name in SECRETS:
            self._hide(self.home / name)
        self._devices()
        self._kernel()
        self._names()

    def _at(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def _above(self, path: Path) -> Path:
        return self.upper / path.relative_to("/")

    def _fresh(self, path: Path) -> None:
        above = self._above(path)
        above.mkdir(parents=True, exist_ok=True)
        if path.name == "tmp":
            above.chmod(0o1777)
        self._at(path).mkdir(parents=True, exist_ok=True)
        bind(above, self._at(path))

    def _keep(self) -> None:
        """What the box needs of the laptop although it lies in a folder that starts empty, such as /tmp."""
        done: list[Path] = []
        for path in sorted(self.kept):
            hidden = path.parts[1:2] and path.parts[1] in FRESH
            if hidden and path.is_dir() and not any(path.is_relative_to(one) for one in done):
                self._at(path).mkdir(parents=True, exist_ok=True)
                self._overlay(path)
                done.append(path)

    def _graft(self, path: Path) -> None:
        target = self._at(path)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_file():
            self._file(path, target)
        elif path.is_dir():
            target.mkdir(exist_ok=True)
            if not os.access(path, os.R_OK | os.X_OK):
                self._fresh(path)
            elif any(point != path and point.is_relative_to(path) for point in self.points):
                self._rebuild(path)
            else:
                self._overlay(path)

    def _file(self, path: Path, target: Path) -> None:
        if path in self.points or not os.access(path, os.R_OK):
            target.touch()
            if path in self.points:
                bind(path, target, read_only=True)
        elif path.stat().st_size < 1 << 20:
            shutil.copy2(path, target)
        else:
            target.touch()
            bind(path, target, read_only=True)

    def _rebuild(self, path: Path) -> None:
        self._fresh(path)
        for child in sorted(path.iterdir()):
            if not (self._above(path) / child.name).is_file():
                self._graft(child)

    def _overlay(self, path: Path) -> None:
        above, work = self._above(path), self.work / str(path).strip("/").replace("/", "%")
        above.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True)
        options = f"{self.options}lowerdir={path},upperdir={above},workdir={work}"
        mount("overlay", self._at(path), "overlay", options=options)

    def _hide(self, path: Path) -> None:
        if not self._at(path).exists():
            return
        empty = self.root / "run" / f"hidden-{path.name}"
        if path.is_dir():
            empty.mkdir()
        else:
            empty.touch()
        bind(empty, self._at(path), read_only=True)

    def _devices(self) -> None:
        devices = self.root / "dev"
        devices.mkdir()
        mount("tmpfs", devices, "tmpfs", options="mode=755")
        for name in DEVICES:
            (devices / name).touch()
            bind(Path("/dev") / name, devices / name)
        (devices / "shm").mkdir(mode=0o1777)
        for name, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
            (devices / name).symlink_to(f"/proc/self/fd{target}")

    def _kernel(self) -> None:
        (self.root / "proc").mkdir()
        mount("proc", self.root / "proc", "proc")
        (self.root / "sys").mkdir()
        bind(Path("/sys"), self.root / "sys", read_only=True)

    def _names(self) -> None:
        """/etc/resolv.conf often points into /run, which is new here."""
        resolver = Path("/etc/resolv.conf")
        if resolver.is_symlink() and resolver.exists() and resolver.resolve().is_relative_to("/run"):
            target = self._at(resolver.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(resolver, target)

    def enter(self) -> None:
        """Leave the old root behind for good."""
        old = self.root / "run/old"
        old.mkdir()
        number = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
        if _libc.syscall(number, os.fsencode(self.root), os.fsencode(old)):
            raise OSError(ctypes.get_errno(), "pivot_root", str(self.root))
        os.chdir("/")
        if _libc.umount2(b"/run/old", DETACH):
            raise OSError(ctypes.get_errno(), "umount of the old root")
        Path("/run/old").rmdir()


def enter_new_root(root: Path, upper: Path, work: Path, home: Path, *, kept: list[Path], user_namespace: bool) -> None:
    mount("none", "/", flags=RECURSIVE | PRIVATE)
    root.mkdir(parents=True)
    mount(root, root, flags=BIND)
    new_root = NewRoot(root, upper, work, home, kept, user_namespace)
    new_root.build()
    new_root.enter()
