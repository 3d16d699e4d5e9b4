from __future__ import annotations

import signal

import pytest

from trainer.stop import Stopped, StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_raised_at_the_next_check(number: signal.Signals) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = StopRequest()
        stop.listen()
        stop.check()
        signal.raise_signal(number)
        with pytest.raises(Stopped):
            stop.check()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
