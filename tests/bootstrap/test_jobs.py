"""What a cluster's head keeps of its job, and what becomes of it when the head is lost or the job ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bootstrap.jobs import BOARD, Extraction, Sweep, job_of
from bootstrap.snapshot import fingerprint_of, step_of
from bootstrap.state import Box
from bootstrap.sync import read_progress
from contract.errors import DataError, StorageError, TrainerError
from contract.layout import RunLayout
from tests.bootstrap.test_agent import BUCKET
from tests.cli.runs import manifest

MakeBox = Callable[..., Box]


def extraction(make_box: MakeBox, instance: str = "i-1") -> tuple[Box, Extraction]:
    box = make_box(instance, boxes="2", job="extract", checkpoint_seconds="3600")
    for name in ("a.mp4", "b.MOV", "notes.txt"):
        (box.paths.training / name).touch()
    job = job_of(box)
    assert isinstance(job, Extraction)
    return box, job


def make(box: Box, *clips: str) -> None:
    for clip in clips:
        (box.paths.keypoints / f"{clip}.npy").write_text(clip)
        (box.paths.keypoints / f"{clip}.json").write_text("{}")


def test_the_next_head_goes_on_with_what_was_saved(make_box: MakeBox) -> None:
    box, job = extraction(make_box)
    job.restore()
    make(box, "a")
    (box.paths.keypoints / ".half.npy").write_text("half")
    job.save(due=True)
    (archive,) = box.paths.checkpoints.iterdir()
    other, again = extraction(make_box, "i-2")
    archive.rename(other.paths.checkpoints / archive.name)
    again.restore()
    assert {path.name for path in other.paths.keypoints.iterdir()} == {"a.npy", "a.json"}
    assert (read_progress(other.paths.progress).step, read_progress(other.paths.progress).steps) == (1, 2)


def test_a_checkpoint_says_how_many_clips_it_holds_and_there_is_one(make_box: MakeBox) -> None:
    box, job = extraction(make_box)
    job.restore()
    for clip in ("a", "b"):
        make(box, clip)
        job.save(due=True)
    assert len(list(box.paths.checkpoints.iterdir())) == 1
    assert step_of(fingerprint_of(box.paths.checkpoints)) == 2


def test_it_is_saved_when_it_is_time_and_when_there_is_something_new(make_box: MakeBox) -> None:
    box, job = extraction(make_box)
    job.restore()
    job.save(due=True)
    make(box, "a")
    job.save(due=False)
    assert not list(box.paths.checkpoints.iterdir())
    job._saved_at -= 3600
    job.save(due=False)
    assert len(list(box.paths.checkpoints.iterdir())) == 1


@pytest.mark.parametrize("code", [0, 7])
def test_keypoints_are_the_result_also_when_some_clips_failed(make_box: MakeBox, code: int) -> None:
    box, job = extraction(make_box)
    job.restore()
    make(box, "a")
    job.finish(code)
    assert (box.paths.model / "a.npy").read_text() == "a"


@pytest.mark.parametrize("code", [0, 1, 3, 130])
def test_nothing_is_no_result(make_box: MakeBox, code: int) -> None:
    _, job = extraction(make_box)
    job.restore()
    with pytest.raises(DataError, match="exit code"):
        job.finish(code)


# --- a sweep --------------------------------------------------------------------------------------------


def sweep(make_box: MakeBox, states: dict[str, str]) -> tuple[Box, Sweep]:
    box = make_box("i-1", boxes="2", job="sweep", sweep="sweep.toml")
    job = job_of(box)
    assert isinstance(job, Sweep)
    job.restore()
    rows = [{"trial": name, "state": state, "step": 10} for name, state in states.items()]
    (box.paths.sweep_state / BOARD[0]).write_text(json.dumps({"trials": rows}))
    for name in BOARD[1:]:
        (box.paths.sweep_state / name).write_text(name)
    return box, job


def test_the_best_trials_model_is_the_runs_with_the_leaderboard_beside_it(make_box: MakeBox, s3: Any) -> None:
    box, job = sweep(make_box, {"t2": "finished", "t1": "finished", "t3": "ended early"})
    layout, files = RunLayout("demo").trial("t2"), {"model.keras": b"best"}
    s3.put_object(Bucket=BUCKET, Key=f"{layout.model}model.keras", Body=b"best")
    s3.put_object(Bucket=BUCKET, Key=layout.model_manifest, Body=manifest(files, "model", 7).model_dump_json())
    job.finish(0)
    assert (box.paths.model / "model.keras").read_bytes() == b"best"
    assert {path.name for path in (box.paths.model / "sweep").iterdir()} == set(BOARD)


def test_a_model_that_does_not_verify_is_no_result(make_box: MakeBox, s3: Any) -> None:
    _, job = sweep(make_box, {"t2": "finished"})
    layout = RunLayout("demo").trial("t2")
    s3.put_object(Bucket=BUCKET, Key=f"{layout.model}model.keras", Body=b"other")
    body = manifest({"model.keras": b"best"}, "model", 7).model_dump_json()
    s3.put_object(Bucket=BUCKET, Key=layout.model_manifest, Body=body)
    with pytest.raises(StorageError, match="cannot be fetched"):
        job.finish(0)


@pytest.mark.parametrize(("states", "code"), [({"t1": "failed"}, 0), ({}, 0), ({"t1": "finished"}, 6)])
def test_a_sweep_without_a_model_has_failed(make_box: MakeBox, states: dict[str, str], code: int) -> None:
    _, job = sweep(make_box, states)
    with pytest.raises(TrainerError, match="exit code"):
        job.finish(code)


def test_every_step_of_any_trial_is_a_sign_of_life(make_box: MakeBox) -> None:
    box, job = sweep(make_box, {"t1": "finished", "t2": "running", "t3": "waiting"})
    job.save(due=False)
    progress = read_progress(box.paths.progress)
    assert (progress.step, progress.train_epoch, progress.train_epochs) == (30, 1, 3)


def test_a_trial_is_carried_out_by_the_workers_own_protocol(make_box: MakeBox) -> None:
    _, job = sweep(make_box, {})
    command = job.command("10.0.0.5:6379")
    assert command[-4:] == ["--ray", "10.0.0.5:6379", "--trial-command", "python -m bootstrap.trial"]
