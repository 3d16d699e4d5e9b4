"""Time for tests: it passes when somebody waits, and things happen meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from cli.stop import Patience


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.later: list[tuple[float, Callable[[], object]]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [act for time, act in self.later if time <= self.now]
        self.later = [(time, act) for time, act in self.later if time > self.now]
        for act in due:
            act()

    def patience(self) -> Patience:
        return Patience(sleep=self.sleep, clock=lambda: self.now)
