from __future__ import annotations

import signal

import pytest

from trainer.stop import Stopped, StopRequest


def test_sigterm_is_noted_and_raised_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop = StopRequest()
        stop.listen()
        stop.check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            stop.check()
    finally:
        signal.signal(signal.SIGTERM, before)
