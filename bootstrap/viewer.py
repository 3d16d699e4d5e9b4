"""TensorBoard or Jupyter, for as long as somebody looks. Enters: which; on standard input what contract/viewer.py says.

Leaves: `Viewing` lines, and no process: what was started ends with this one. It listens on 127.0.0.1 alone, where the
tunnel leads, and runs as whoever logged in. It is installed at first use from a lock file with hashes into a folder of
theirs: the trainer's packages stay as they are. It sees no GPU, whose memory is the trainer's.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from contract.box import BoxPaths
from contract.viewer import SILENCE_SECONDS, Tool, Viewing

HOST = "127.0.0.1"
LOOK_SECONDS = 0.5
TERM_SECONDS = 10.0
SAID_BYTES = 2000
"""Of what a tool wrote, told when it failed."""
KEPT = ("PATH", "HOME", "LANG", "USER")
"""Of the login's environment."""


class Gone(Exception):
    """Nobody looks any more."""


class Viewer:
    """`listen` and `speak` are file descriptors."""

    def __init__(self, tool: Tool, paths: BoxPaths, home: Path, listen: int = 0, speak: int = 1) -> None:
        self._tool = tool
        self._paths = paths
        self._venv = home / ".cache/signspot" / tool
        self._home = home
        self._listen = listen
        self._speak = speak
        self._heard = time.monotonic()

    def run(self) -> int:
        """Until nobody looks any more, or the tool ends; returns its exit code then."""
        try:
            token = self._hear(SILENCE_SECONDS).decode().strip()
            self._install()
            with socket.create_server((HOST, 0)) as free:
                port = free.getsockname()[1]
            environment = {name: os.environ[name] for name in KEPT if name in os.environ}
            environment |= {"JUPYTER_TOKEN": token, "CUDA_VISIBLE_DEVICES": "-1"}
            up = False

            def look() -> None:
                nonlocal up
                up = up or answers(port)
                path = f"/lab?token={token}" if self._tool == "jupyter" else "/"
                self._say(Viewing(port=port, path=path) if up else Viewing(message=f"{self._tool} is starting"))

            return self._attend(self._command(port), environment, look)
        except Gone:
            return 0

    def _command(self, port: int) -> list[str]:
        python = str(self._venv / "bin/python")
        if self._tool == "tensorboard":
            where = ["--logdir", str(self._paths.output / "tensorboard"), "--host", HOST, "--port", str(port)]
            return [python, "-m", "tensorboard.main", *where, "--load_fast", "false"]
        return [
            *(python, "-m", "jupyterlab", f"--ip={HOST}", f"--port={port}", "--no-browser"),
            *(
                "--ServerApp.port_retries=0",
                "--ServerApp.root_dir=/",
                f"--FileContentsManager.preferred_dir={self._home}",
            ),
        ]

    def _install(self) -> None:
        """Once; whoever comes meanwhile waits for it."""
        self._venv.parent.mkdir(parents=True, exist_ok=True)
        ready = self._venv / "ready"
        with self._venv.with_suffix(".lock").open("w") as lock:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                self._hear(LOOK_SECONDS)
            if ready.exists():
                return
            uv, python = str(self._paths.venv / "bin/uv"), str(self._venv / "bin/python")
            requirements = str(self._paths.home / f"requirements/{self._tool}.txt")
            base = ["--python", str(self._paths.venv / "bin/python")]
            for words in (
                ["venv", "-q", "--clear", *base, str(self._venv)],
                ["pip", "install", "-q", "--python", python, "--require-hashes", "-r", requirements],
            ):
                say = Viewing(message=f"{self._tool} is being installed on the box, from {Path(requirements).name}")
                if code := self._attend([uv, *words], os.environ, lambda say=say: self._say(say)):  # type: ignore[misc]
                    raise SystemExit(code)
            if self._tool == "jupyter":
                self._show_the_trainers_packages()
            ready.touch()

    def _show_the_trainers_packages(self) -> None:
        """A notebook imports what the trainer imports; its own packages come first."""
        (theirs,) = (self._venv / "lib").glob("python*/site-packages")
        ours = (self._paths.home, *(self._paths.venv / "lib").glob("python*/site-packages"))
        (theirs / "trainer.pth").write_text("".join(f"{path}\n" for path in ours))

    def _attend(self, command: Sequence[str], environment: Mapping[str, str], look: Callable[[], None]) -> int:
        """Run it, tell how far it is, and end it when nobody looks any more; returns its exit code."""
        log = self._venv.with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            while (code := process.poll()) is None:
                look()
                self._hear(LOOK_SECONDS)
            if code:
                sys.stderr.write(log.read_text(errors="replace")[-SAID_BYTES:])
            return code
        finally:
            end(process)

    def _hear(self, seconds: float) -> bytes:
        """What the laptop says within that time.

        Raises:
            Gone: it hung up, or has been silent for too long.
        """
        if select.select([self._listen], [], [], seconds)[0]:
            heard = os.read(self._listen, 4096)
            if not heard:
                raise Gone
            self._heard = time.monotonic()
            return heard
        if time.monotonic() - self._heard > SILENCE_SECONDS:
            raise Gone
        return b""

    def _say(self, viewing: Viewing) -> None:
        try:
            os.write(self._speak, f"{viewing.model_dump_json()}\n".encode())
        except BrokenPipeError:
            raise Gone from None


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """It and its children: first asked, then killed."""
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, TERM_SECONDS)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    os.nice(10)  # the trainer goes first
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    tool: Tool = "jupyter" if sys.argv[1:] == ["jupyter"] else "tensorboard"
    return Viewer(tool, BoxPaths(Path(os.environ.get("SIGNSPOT_ROOT") or "/")), Path.home()).run()


if __name__ == "__main__":
    sys.exit(main())
