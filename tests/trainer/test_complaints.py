from __future__ import annotations

import os

import pytest

from contract.errors import DataError
from trainer.complaints import Complaints


def test_native_output_is_caught_and_only_meanwhile(capfd: pytest.CaptureFixture[str]) -> None:
    with Complaints() as complaints:
        os.write(2, b"[h264 @ 0x1f] error while decoding MB 1\n" * 3)
    os.write(2, b"seen\n")
    assert capfd.readouterr().err == "seen\n"
    assert complaints.doubts(60) == (
        "is damaged: the decoder complained 3 times, first h264: error while decoding MB 1",
    )
    assert complaints.doubts(61) == ()


def test_demuxers_and_mediapipe_are_no_damage() -> None:
    with Complaints() as complaints:
        os.write(2, b"[mov,mp4,m4a @ 0x1f] timescale not set\nW0000 manager.cc:121] Feedback\n" * 9)
    assert complaints.doubts(10) == ()


def test_a_refusal_gains_ffmpegs_reason() -> None:
    with pytest.raises(DataError, match="no stream; FFmpeg says: moov atom not found"), Complaints():
        os.write(2, b"[mov,mp4 @ 0xab] moov atom not found\n")
        raise DataError("clip.mp4 cannot be decoded", why="no stream")
