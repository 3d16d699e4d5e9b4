from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from copy import copy
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from contract.errors import DataError
from tests.cli import schemas
from tests.trainer.clips_for_tests import hand_model, moving_square, needs_opencv, real_clips, write_video
from trainer.extract import Missing, extract, main
from trainer.extract_report import Outcome, Progress, Summary
from trainer.keypoints import load_keypoints
from trainer.landmarks import MissingLibrary


def run(videos: Path, to: Path, model: Path, *, preview: bool = False, processes: int = 2) -> dict[str, Outcome]:
    progress = Progress(io.StringIO())
    done = extract(videos, to, model, processes=processes, progress=progress, preview=preview)
    return {outcome.clip: outcome for outcome in done}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """One good clip without hands, and every kind of bad one; long and non-ASCII names; a circle of links."""
    needs_opencv()
    folder = tmp_path / "videos/té"
    folder.mkdir(parents=True)
    write_video(folder / "good.avi", moving_square(6))
    shutil.copy(folder / "good.avi", folder / ("手" * 83 + ".avi"))
    (folder / "empty.mp4").touch()
    (folder / "text.webm").write_text("not a clip")
    (folder / "garbage.mkv").write_bytes(bytes(range(256)) * 50)
    (folder / "gone.mov").symlink_to("nowhere")
    (folder / "circle").symlink_to("..")
    return tmp_path / "videos"


def test_bad_clips_are_named_and_the_rest_goes_on(videos: Path, tmp_path: Path) -> None:
    found = run(videos, tmp_path / "out", hand_model())
    failures = {clip: outcome.failure for clip, outcome in found.items() if outcome.failure}
    assert {Path(clip).name for clip in failures} == {"empty.mp4", "text.webm", "garbage.mkv", "gone.mov"}
    assert failures["té/text.webm"] == "is a text file, not a video"
    assert load_keypoints(tmp_path / "out/té/good.npy").shape == (6, 2, 21, 3)
    assert len(list((tmp_path / "out/té").glob("*.npy"))) == 2
    told = json.loads((tmp_path / "out/té/good.json").read_bytes())
    assert told["frames_per_second"] == 25
    assert told["presence"] == [[0, 0]] * 6
    summary = Summary(tuple(found.values()), 0.5)
    assert summary.exit_code == 7
    assert "doubtful  té/good.avi: no hand in 100% of 6 frames" in summary.text(tmp_path)


def test_only_what_changed_is_done_again(videos: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", hand_model()
    run(videos, out, model)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    assert all(outcome.cached for outcome in run(videos, out, model).values())
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == stamps

    write_video(videos / "té/good.avi", moving_square(8))
    (out / "té/empty.json").unlink()
    changed = [clip for clip, outcome in run(videos, out, model).items() if not outcome.cached]
    assert changed == ["té/empty.mp4", "té/good.avi"]
    assert len(load_keypoints(out / "té/good.npy")) == 8

    (videos / "té/good.avi").write_bytes(b"")
    assert run(videos, out, model)["té/good.avi"].failure == "is empty"
    assert not (out / "té/good.npy").exists()


def test_sheets_are_added_without_extracting_again(videos: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", hand_model()
    run(videos, out, model)
    stamp = (out / "té/good.npy").stat().st_mtime_ns
    found = run(videos, out, Path("no model is opened"), preview=True)
    assert found["té/good.avi"].doubts == ()
    assert (out / "té/good.preview.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "té/good.npy").stat().st_mtime_ns == stamp


def test_real_clips_in_two_processes_are_as_in_one(tmp_path: Path) -> None:
    model = hand_model()
    (tmp_path / "videos").mkdir()
    for name in ("yo", "doctor"):
        shutil.copytree(real_clips() / name, tmp_path / "videos" / name)
    run(tmp_path / "videos", tmp_path / "one", model, processes=1)
    run(tmp_path / "videos", tmp_path / "two", model, preview=True)
    for name in ("yo", "doctor"):
        one, two = (load_keypoints(tmp_path / times / name / "001.npy") for times in ("one", "two"))
        assert np.array_equal(one, two)
        assert one.any(axis=(1, 2, 3)).mean() > 0.95
        assert (tmp_path / "two" / name / "001.preview.png").exists()


def test_output_that_cannot_be_written(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        run(videos, tmp_path / "file/out", Path("model"))
    with pytest.raises(DataError, match="is the folder of the videos"):
        run(videos, videos, Path("model"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/té").touch()
    with pytest.raises(DataError, match="té cannot be written"):
        run(videos, tmp_path / "out", Path("model"))


def test_a_machine_without_the_libraries_is_one_message(videos: Path, tmp_path: Path) -> None:
    missing = Missing("they do not run", "libEGL.so.1", "sudo apt install libegl1")
    job = defaultdict(partial(copy, missing)).__getitem__  # the same answer to every task, and it can be pickled
    with pytest.raises(MissingLibrary, match="sudo apt install"):
        extract(videos, tmp_path / "out", Path("model"), processes=2, progress=Progress(io.StringIO()), job=job)


def test_ctrl_c_and_the_same_command_goes_on(tmp_path: Path) -> None:
    hand_model()
    write_video(tmp_path / "clip.avi", moving_square(40))
    for index in range(40):
        (tmp_path / "videos/tea").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"videos/tea/{index}.avi").write_bytes((tmp_path / "clip.avi").read_bytes() + bytes([index]))
    command = [sys.executable, "-m", "trainer.extract", "--to", str(tmp_path / "out"), str(tmp_path / "videos")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").rglob("*.json"))) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said == "stopped; what is done stays, and the same command goes on from here\n"
    done = len(list((tmp_path / "out").rglob("*.json")))
    assert 3 <= done < 40
    assert not list((tmp_path / "out").rglob(".*"))
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"40 of 40 clips in {tmp_path / 'out'} ({done} unchanged)" in again.stdout


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = hand_model()
    assert main([str(tmp_path / "missing"), "--to", str(tmp_path / "out"), "--model", str(model)]) == 3
    assert "is no folder" in capsys.readouterr().err
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").touch()
    assert main([str(tmp_path / "videos"), "--to", str(tmp_path / "out"), "--model", str(model)]) == 3
    assert "failed    a.mp4: is empty" in capsys.readouterr().out
    assert main([str(tmp_path / "videos"), "--to", str(tmp_path / "out"), "--model", str(model), "--json"]) == 3
    assert schemas.check("extract", capsys.readouterr().out)["failed"] == [{"clip": "a.mp4", "why": "is empty"}]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_failures_or_done_but_no_end(videos: Path, tmp_path: Path) -> None:
    (videos / "té/good.avi").rename(videos / "té" / os.fsdecode(b"\xff.avi"))
    (videos / "té" / os.fsdecode(b"\xfe.mp4")).touch()
    command = [sys.executable, "-m", "trainer.extract", "--to", str(tmp_path / "out"), "--model", str(hand_model())]
    shown = subprocess.run([*command, str(videos)], capture_output=True, check=False)
    assert shown.returncode == 7, shown.stderr
    assert b"\\udcfe.mp4: " in shown.stdout
    assert shown.stderr == b""
