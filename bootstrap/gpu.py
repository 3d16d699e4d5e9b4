"""How busy the GPU is. Enters: NVIDIA's management library (NVML), where there is a driver. Leaves: percent, or None.

Asked from a thread of its own: a driver that hangs must not keep the agent from hearing a notice.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pynvml

log = logging.getLogger(__name__)


class Gpu:
    """Calling it gives the utilisation of the busiest GPU in percent, as of the call before.

    Utilisation is NVML's: the share of the last sample period (at most a second) in which a kernel ran.
    https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html
    None: there is no GPU, or it does not say, or not in time.
    """

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
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
            return max((self._nvml.nvmlDeviceGetUtilizationRates(one).gpu for one in self._devices), default=None)
        except self._nvml.NVMLError as error:
            log.warning("no GPU to watch: %s; the trainer's steps are watched in its place", error)
            self._there = False
            return None
