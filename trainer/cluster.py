"""A Ray cluster for as long as it is needed. Enters: its address, or `local`. Leaves: nothing that still runs.

Whoever asks for work on it must know its token (https://docs.ray.io/en/latest/ray-security/token-auth.html): that of
another machine's cluster is in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as Ray has it; for one on this machine it is made
anew and told to nobody, where there is none yet.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from contract.errors import CloudError, ConfigError
from trainer.workers import cores

LOCAL = "local"
"""In place of an address: Ray on this machine, started and ended with the command."""
ROOMS = ("contract", "trainer")
"""What the other machines of a cluster are sent, so that all run the same code."""
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray then takes 127.0.0.1 for this machine's address, under Linux, too; else its ports listen on every address."""
AS_OTHERS = {"RAY_worker_niceness": "0"}
"""As processes of the local pool have it. With Ray's 15, two cores do 4 % fewer clips a second."""
ATTEMPTS = 3
"""Ray gives its own processes 30 seconds to start, which a machine that is very busy may miss."""


@contextmanager
def joined(address: str, cpus: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected; a local cluster has `cpus` CPUs (default: those this process may use).

    Raises:
        ConfigError: Ray is not installed.
        CloudError: there is no cluster at the address, it does not know us, or Ray cannot be started here.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray keeps a process's first one for good
        os.environ.update(RAY_AUTH_MODE="token", **LOOPBACK, **AS_OTHERS)
    else:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")  # of 46 seconds, where nobody answers
    if address != LOCAL and {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:  # Ray reads these variables when it is imported, and once
        import ray
    except ImportError as error:
        raise ConfigError("Ray is not installed", why=str(error), mend="make ray, in signspot's own folder") from None
    folder = TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)  # a short path: Ray has its sockets there
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _start(ray, address, cpus, Path(folder.name))
        for number, handler in before.items():  # Ray puts its own in their place
            signal.signal(number, handler)
        yield ray
    finally:
        ray.shutdown()
        folder.cleanup()
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(ray: Any, address: str, cpus: int | None, folder: Path) -> None:
    """`folder`: for what a local cluster writes."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address != LOCAL:
        home = Path(__file__).resolve().parents[1]
        code = {"py_modules": [str(home / room) for room in ROOMS], "excludes": ["**/__pycache__"]}
        try:
            ray.init(address, runtime_env=code, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise CloudError(
                f"no Ray cluster answers at {address}",
                why=f"{type(error).__name__}: {error}".splitlines()[0],
                mend="see that its head runs, that this machine may reach it, and that RAY_AUTH_TOKEN is its token",
            ) from None
        return
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(
                LOCAL,
                num_cpus=cpus or cores(),
                include_dashboard=False,
                _temp_dir=str(folder / str(attempt)),
                **quiet,
            )
            return
        except Exception as error:  # Ray raises this very class when its processes are late
            ray.shutdown()
            if attempt == ATTEMPTS:
                raise CloudError(
                    f"Ray could not be started on this machine, {ATTEMPTS} times",
                    why=str(error),
                    mend="try again when it is less busy",
                ) from None
            print(f"Ray did not start ({error}); it is tried again", file=sys.stderr, flush=True)
