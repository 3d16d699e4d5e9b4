"""The PyTorch example as a user brings it: a folder named in run.code, a notice, another box, the model at home.

Its own code is what stands in examples/; PyTorch, which is not among our packages, is a stand-in beside it, and the
real one, fetched by the box as requirements.txt has it, where SIGNSPOT_PYTORCH is set: that is 3 GB.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.assembly import Assembly, synthesise
from cli.deaths import SETTINGS, TIME_FORMAT
from cli.stage import RUN, Stage
from contract.layout import RunLayout
from contract.status import Event, Phase
from rehearsal.case import Case
from rehearsal.deaths import NOTICE_SECONDS, READY

ROOT = Path(__file__).parents[2]
REAL = pytest.mark.skipif("SIGNSPOT_PYTORCH" not in os.environ, reason="3 GB to fetch: SIGNSPOT_PYTORCH=1 does")
INSTALL_SECONDS = 1200


def bring(folder: Path, *, real: bool) -> dict[str, str]:
    """The settings of a user's run, and its folders; its steps are slow, so that it can be interrupted."""
    code, data = folder / "code", folder / "numbers"
    shutil.copytree(ROOT / "examples/pytorch", code)
    if real:
        script = (code / "train.py").read_text()
        slow = script.replace("    step += 1\n", "    step += 1\n    time.sleep(0.02)\n")
        (code / "train.py").write_text(slow.replace("import sys\n", "import sys\nimport time\n"))
    else:
        stand_in = (ROOT / "tests/bootstrap/torch_stand_in.py").read_text()
        (code / "torch.py").write_text(stand_in.replace("sleep(0.001)", "sleep(0.02)"))
        (code / "requirements.txt").write_text("# nothing but what stands beside it\n")
    data.mkdir()
    (data / "numbers.txt").write_text("no table")
    return {"code": str(code), "data.path": str(data), "trainer.command": json.dumps(["python", "train.py"])}


def ready(bundle: Path) -> None:
    """The agent's environment is there already; the trainer's is made."""
    (bundle / "bootstrap/install.sh").write_text(READY)


@pytest.mark.timeout(INSTALL_SECONDS * 2)
@pytest.mark.parametrize("real", [False, pytest.param(True, marks=REAL)], ids=["stand-in", "PyTorch"])
def test_a_notice_costs_a_trainer_of_ones_own_nothing(stage: Stage, tmp_path: Path, real: bool) -> None:
    settings = SETTINGS | bring(tmp_path, real=real)
    if real:
        stage.datacenter.environment["UV_OFFLINE"] = "0"
        settings |= {"stall_minutes": "5", "grace_seconds": "10"}
    assembly = Assembly(synthesise(tmp_path / "cdk.out", settings), RUN, stage.aws)
    assembly.bootstrap()
    outputs = assembly.deploy(bundle=ready)
    stop_at = datetime.strptime(outputs["StopAt"], TIME_FORMAT).replace(tzinfo=UTC)
    boxes = len(stage.datacenter.boxes)
    case = Case(stage.aws, stage.datacenter, RunLayout(RUN), outputs["Bucket"], outputs["Group"], stop_at, boxes)
    try:
        first = case.training(checkpoint_step=50, seconds=INSTALL_SECONDS)
        stage.datacenter.notice(first.instance_id, NOTICE_SECONDS)
        case.wait("the end", lambda: case.over, INSTALL_SECONDS)
        status = case.status()
        assert status and (status.phase, status.attempts, status.progress.step) == (Phase.DONE, 2, 400), status
        keys = [
            found["Key"]
            for found in stage.s3.list_objects_v2(Bucket=case.bucket, Prefix=case.layout.events)["Contents"]
        ]
        events = [
            Event.model_validate_json(stage.s3.get_object(Bucket=case.bucket, Key=key)["Body"].read()) for key in keys
        ]
        (interrupted,) = [event for event in events if event.kind == "interrupted"]
        assert interrupted.message == f"saved; checkpoint of step {status.restored_step} is in S3"
        stage.signspot("fetch", RUN, "--to", str(tmp_path))
    finally:
        assembly.destroy()
    home = tmp_path / RUN
    logs = "".join(path.read_text() for path in home.rglob("*.log") if "trainer" in path.as_posix())
    assert f"begins at step {status.restored_step}\n" in logs
    if real:
        assert zipfile.is_zipfile(home / "model/model.pt"), "as torch.save writes it"
        return
    weights = pickle.loads((home / "model/model.pt").read_bytes())["weights"]
    assert all(abs(weight - 1) < 0.05 for weight in weights)
    assert "/code-venv\n" in logs
