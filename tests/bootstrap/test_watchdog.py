"""The watchdog by a simulated clock, the GPU by a simulated library."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.gpu import OLD_SECONDS, Gpu, usage_of
from bootstrap.watchdog import IDLE_PERCENT, Alarm, Watchdog
from contract.config import LimitsConfig
from contract.status import Progress, Usage

STALL, IDLE = 20, 30


class Life:
    """A trainer that is looked after every second of simulated time."""

    def __init__(self, gpu: Callable[[], int | None] = lambda: None, **limits: float) -> None:
        self.now = 1000.0
        self.gpu: int | None = gpu()
        self.step = 0
        self.log = 0
        self.metrics: dict[str, float] = {}
        self.dog = Watchdog(
            LimitsConfig(**{"stall_minutes": STALL, "idle_minutes": IDLE, **limits}),  # type: ignore[arg-type]
            lambda: self.gpu,
            lambda: self.now,
        )
        self.dog.trainer_started()

    def look(self) -> Alarm | None:
        return self.dog.look(Progress(step=self.step, metrics=self.metrics), self.log)

    def live(self, minutes: float, *, steps: bool = False, log: bool = False) -> tuple[str, float] | None:
        """The alarm and after how many minutes it came."""
        for second in range(1, int(60 * minutes) + 1):
            self.now += 1
            self.step += steps
            self.log += log
            if alarm := self.look():
                return alarm.kind, second / 60
        return None


def test_no_step_for_that_long_is_a_stall() -> None:
    life = Life()
    assert life.live(5, steps=True) is None
    alarm = life.live(60)
    assert alarm == ("stalled", STALL)


def test_the_first_step_gets_as_long_as_any_other() -> None:
    assert Life().live(STALL - 0.1) is None
    assert Life().live(60) == ("stalled", STALL + 1 / 60)


def test_a_new_start_gets_all_of_the_time_again() -> None:
    life = Life(idle_minutes=1000)
    assert life.live(60) == ("stalled", STALL + 1 / 60)
    life.dog.trainer_started()
    assert life.live(60) == ("stalled", STALL)


def test_an_evaluation_shorter_than_the_limit_is_no_stall_and_its_metrics_are_a_sign_of_life() -> None:
    life = Life()
    life.live(1, steps=True)
    assert life.live(STALL - 1) is None
    life.metrics = {"val_loss": 0.3}
    assert life.live(STALL - 1) is None


def test_a_trainer_that_never_reports_a_step_lives_while_its_log_grows() -> None:
    life = Life()
    assert life.live(10 * STALL, log=True) is None
    assert life.live(60) == ("stalled", STALL)


def test_a_trainer_that_reports_steps_cannot_talk_its_way_out_of_a_stall() -> None:
    life = Life()
    life.live(1, steps=True)
    assert life.live(60, log=True) == ("stalled", STALL)


def test_a_machine_that_stood_still_raises_no_alarm() -> None:
    """Agent and trainer were both frozen for hours; the agent looks before the trainer's next step."""
    life = Life(lambda: 0)
    life.live(1, steps=True)
    life.now += 5 * 3600
    assert life.look() is None
    assert life.live(1, steps=True) is None


def test_a_restart_does_not_make_an_idle_gpu_busy() -> None:
    life = Life(lambda: 0)
    assert life.live(60) == ("stalled", STALL + 1 / 60)
    life.dog.trainer_started()
    assert life.live(60) == ("idle", pytest.approx(IDLE - STALL, abs=0.02))


def test_steps_on_an_idle_gpu_end_the_run() -> None:
    life = Life(lambda: IDLE_PERCENT - 1)
    assert life.live(60, steps=True) == ("idle", IDLE)
    assert (alarm := life.look())
    assert "the GPU was idle" in alarm.message
    assert "30 minutes" in alarm.message


def test_one_busy_look_is_enough() -> None:
    life = Life(lambda: 0)
    for _ in range(5):
        assert life.live(IDLE - 0.1, steps=True) is None
        life.gpu = IDLE_PERCENT
        assert life.live(0.02, steps=True) is None
        life.gpu = 0


def test_a_busy_gpu_does_not_excuse_a_trainer_without_steps() -> None:
    """A deadlock in a kernel keeps the GPU at 100 %."""
    life = Life(lambda: 100)
    life.live(1, steps=True)
    assert life.live(60) == ("stalled", STALL)


def test_without_a_gpu_steps_are_the_measure() -> None:
    life = Life(stall_minutes=1000)
    life.live(1, steps=True)
    assert life.live(60) == ("idle", IDLE)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, 0, 100])), max_size=300))
def test_no_alarm_ever_comes_while_both_are_well_within_their_time(looks: list[tuple[int, int | None]]) -> None:
    life = Life(stall_minutes=1, idle_minutes=2)
    quiet = 0
    for steps, gpu in looks:
        life.now += 7
        life.step += steps
        life.gpu = gpu
        quiet = 0 if steps else quiet + 7
        alarm = life.look()
        if alarm and alarm.kind == "stalled":
            assert quiet >= 60
            life.dog.trainer_started()


# --- the GPU -----------------------------------------------------------------------------------------


class Nvml:
    """NVIDIA's library, at the seam of the `pynvml` module."""

    class NVMLError(Exception):
        pass

    def __init__(self, *percents: int, fails: str = "") -> None:
        self.percents = list(percents)
        self.fails = fails
        self.released = threading.Event()
        self.released.set()

    def _call(self, name: str) -> None:
        self.released.wait(30)
        if name == self.fails:
            raise self.NVMLError(name)

    def nvmlInit(self) -> None:  # noqa: N802
        self._call("init")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.percents)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        self._call("rates")
        return SimpleNamespace(gpu=self.percents[handle])

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        self._call("memory")
        return SimpleNamespace(used=handle + 1, total=4)


def settled(gpu: Gpu) -> int | None:
    """What it says of the first question, once the second, asked with it, is answered too: nothing is written later."""
    gpu()
    said = None
    if gpu._answer:
        gpu._answer.exception(10)
        said = gpu()
        gpu._answer.exception(10)
    return said


def test_the_busiest_gpu_counts() -> None:
    assert settled(Gpu(Nvml(0, 93, 4))) == 93


@pytest.mark.parametrize("nvml", [Nvml(), Nvml(50, fails="init"), Nvml(50, fails="rates")])
def test_a_machine_whose_gpu_does_not_tell_has_none(nvml: Nvml) -> None:
    gpu = Gpu(nvml)
    assert settled(gpu) is None
    assert settled(gpu) is None


def test_the_real_library_without_a_driver_is_no_gpu() -> None:
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert settled(Gpu()) is None
    else:
        answer = settled(Gpu())
        assert answer is None or 0 <= answer <= 100


def test_a_driver_that_hangs_does_not_hold_the_agent_up() -> None:
    nvml = Nvml(70)
    gpu = Gpu(nvml)
    assert settled(gpu) == 70
    assert gpu._answer
    gpu._answer.exception(10)
    nvml.released.clear()
    gpu()
    assert [gpu() for _ in range(3)] == [None, None, None]
    nvml.released.set()


def test_what_the_gpu_says_is_noted_for_the_status(tmp_path: Path) -> None:
    note, meminfo = tmp_path / "usage.json", tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 690 kB\nHugePages_Total: 0\n")
    assert usage_of(note, meminfo) == Usage(memory_percent=31)
    settled(Gpu(Nvml(0, 93), note))
    assert usage_of(note, meminfo) == Usage(gpu_percent=93, gpu_memory_percent=50, memory_percent=31)
    old = time.time() - OLD_SECONDS - 1
    os.utime(note, (old, old))
    assert usage_of(note, tmp_path / "nowhere") == Usage()


def test_a_gpu_that_hides_its_memory_is_watched_all_the_same(tmp_path: Path) -> None:
    assert settled(Gpu(Nvml(70, fails="memory"), tmp_path / "usage.json")) == 70
    assert usage_of(tmp_path / "usage.json").gpu_percent == 70
    assert settled(Gpu(Nvml(70), tmp_path / "no folder/usage.json")) == 70
