"""What holds for every test."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def _sigint_is_heard() -> None:
    """A shell has it ignored for jobs in the background, and so would every process that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
