"""How busy the GPU is. Enters: NVIDIA's management library (NVML), where there is a driver. Leaves: percent, or None.

Asked from a thread of its own: a driver that hangs must not keep the agent from hearing a notice.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contract.status import Usage

log = logging.getLogger(__name__)

OLD_SECONDS = 60.0
"""A note of this age is that of an agent that looks no more."""


class Gpu:
    """Calling it gives the utilisation of the busiest GPU in percent, as of the call before.

    Utilisation is NVML's: the share of the last sample period (at most a second) in which a kernel ran.
    https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html
    None: there is no GPU, or it does not say, or not in time. Each answer is written to `note`, where there is one,
    for whoever else wants to know.
    """

    def __init__(self, nvml: Any = None, note: Path | None = None) -> None:
        import pynvml  # a tenth of the time in which cron's sync starts, which needs none of it

        self._nvml = nvml or pynvml
        self._file = note
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gpu")
        self._answer: Future[int | None] | None = None
        self._devices: list[Any] = []
        self._there = True

    def __call__(self) -> int | None:
        if not self._there:
            return None
        if self._answer and not self._answer.done():
            return None
        before, self._answer = self._answer, self._thread.submit(self._ask)
        return before.result() if before else None

    def _ask(self) -> int | None:
        try:
            if not self._devices:
                self._nvml.nvmlInit()
                count = self._nvml.nvmlDeviceGetCount()
                self._devices = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            self._there = bool(self._devices)
            busy = max((self._nvml.nvmlDeviceGetUtilizationRates(one).gpu for one in self._devices), default=None)
        except self._nvml.NVMLError as error:
            log.warning("no GPU to watch: %s; the trainer's steps are watched in its place", error)
            self._there = False
            return None
        if self._file and self._there:
            self._note(self._file, Usage(gpu_percent=busy, gpu_memory_percent=self._memory()))
        return busy

    def _memory(self) -> int | None:
        try:
            found = [self._nvml.nvmlDeviceGetMemoryInfo(one) for one in self._devices]
        except self._nvml.NVMLError:
            return None
        return max((round(100 * one.used / one.total) for one in found), default=None)

    @staticmethod
    def _note(file: Path, usage: Usage) -> None:
        temporary = file.with_name(".usage.json")
        with suppress(OSError):  # a full disk is no reason to stop watching
            temporary.write_text(usage.model_dump_json())
            temporary.replace(file)


def usage_of(note: Path, meminfo: Path = Path("/proc/meminfo")) -> Usage:
    """What was noted last, unless that is old, and the memory of this machine."""
    usage = Usage()
    with suppress(OSError, ValidationError):
        if time.time() - note.stat().st_mtime < OLD_SECONDS:
            usage = Usage.model_validate_json(note.read_bytes())
    return usage.model_copy(update={"memory_percent": _memory_percent(meminfo)})


def _memory_percent(meminfo: Path) -> int | None:
    try:
        lines = (line.split() for line in meminfo.read_text().splitlines())
        sizes = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return round(100 * (1 - sizes["MemAvailable:"] / sizes["MemTotal:"]))
    except (OSError, ValueError, KeyError, ZeroDivisionError):
        return None
