"""What needs no run, as a user types it in one folder beside an emulated account: from a sample to a model and its
answers, clips, a sweep, a simulation, the campaigns at their smallest. All that `--json` prints is as its schema says.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.address import find_address
from cli.main import app
from cli.stage import Stage
from tests.cli import schemas
from tests.rehearsal.typed import answer
from tests.trainer.clips_for_tests import hand_model, moving_square, write_video
from trainer.workers import cores

WORDS = ("hello", "thank-you", "yes")
TINY = [word for name in ("units=8", "convolutions=0", "bidirectional=false") for word in ("-c", name)]

EARLY = "28"
"""Of `chaos`: the fault strikes after 13 % of the training, which is well before its end on a fast machine, too."""


@pytest.fixture(scope="module")
def folder(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's: with the shipped sample, and `small`, three words of it with a table of its own."""
    home = tmp_path_factory.mktemp("laptop")
    made = answer(stage, home, "sample", "data/sample")
    assert made["sequences"] == 1024
    for word in WORDS:
        shutil.copytree(home / "data/sample/keypoints" / word, home / "small" / word)
    table = answer(stage, home, "dataset", "small", "--signer-pattern", r"(?P<signer>signer\d+)")
    assert (table["splits"], table["errors"], set(table["words"])) == ("by signer", [], set(WORDS))
    assert table["added"] == table["clips"] == 384
    return home


def test_a_model_is_trained_asked_exported_and_reported(stage: Stage, folder: Path) -> None:
    trained = answer(stage, folder, "train", "small", "--out", "results/tiny", "-c", "epochs=1", *TINY)
    assert (trained["outcome"], trained["model"], trained["train_epoch"]) == ("done", "results/tiny/model", 1)
    one = answer(stage, folder, "predict", trained["model"], "small/yes/signer0-000.npy", "--top", "2")
    assert len(one["top"]) == 2 and {guess["word"] for guess in one["top"]} < set(WORDS)
    lite = answer(stage, folder, "export", trained["model"])
    assert (folder / lite["file"]).stat().st_size == lite["bytes"] > 0
    page = answer(stage, folder, "report", "results/tiny")["report"]
    assert all(word in (folder / page).read_text() for word in WORDS)


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make ray")
def test_settings_are_swept(stage: Stage, folder: Path) -> None:
    """One trial after the other, in one process."""
    plan = f'search = "grid"\n[trial]\ncpus = {cores()}\n[space]\nunits = [4, 8]\n'
    (folder / "sweep.toml").write_text(plan)
    swept = answer(stage, folder, "sweep", "sweep.toml", "small", "-c", "epochs=1", *TINY)
    assert sorted(trial["settings"]["units"] for trial in swept["trials"]) == [4, 8]
    assert [trial["state"] for trial in swept["trials"]] == ["finished", "finished"]
    assert (folder / "results/sweep/model/model.keras").exists()


def test_clips_of_a_bucket_become_keypoints(stage: Stage, folder: Path, tmp_path: Path) -> None:
    model, s3 = hand_model(), stage.aws.client("s3")
    write_video(tmp_path / "square.avi", moving_square(6))
    s3.create_bucket(Bucket="clips")
    s3.upload_file(str(tmp_path / "square.avi"), "clips", "raw/tea/square.avi")
    s3.put_object(Bucket="clips", Key="raw/tea/text.mp4", Body=b"not a clip")
    made = answer(stage, folder, "extract", "s3://clips/raw", "--to", "made", "--model", str(model), code=7)
    assert (made["clips"], made["extracted"], made["frames"]) == (2, 1, 6)
    assert [one["clip"] for one in made["doubtful"]] == ["tea/square.avi"], "it shows no hand"
    assert made["failed"] == [{"clip": "tea/text.mp4", "why": "is a text file, not a video"}]
    assert (folder / "made/tea/square.npy").exists()


def test_interruptions_are_simulated(stage: Stage, folder: Path) -> None:
    found = answer(stage, folder, "simulate", "--replays", "5")
    assert found["done"] == 5 and found["ours"]["lost_minutes"]["most"] == 0


def test_services_that_agree_say_the_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Others than the command's, which are on the Internet: here two answer, and one does not know."""
    for name in ("one", "two"):
        (tmp_path / name).write_text("8.8.8.8\n")
    with ThreadingHTTPServer(("localhost", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        services = [f"http://localhost:{server.server_port}/{name}" for name in ("one", "two", "none")]
        monkeypatch.setattr("cli.address.find_address", partial(find_address, services))
        told = CliRunner().invoke(app, ["address", "--json"], catch_exceptions=False)
        server.shutdown()
    assert told.exit_code == 0
    assert schemas.check("address", told.stdout) == {"ssh_from": "8.8.8.8/32"}


def test_a_death_is_played(stage: Stage, folder: Path) -> None:
    (death,) = answer(stage, folder, "deaths", "--only", "training done")["deaths"]
    assert (death["over"], death["phase"], death["boxes"]) == (True, "done", 1)
    assert json.loads((folder / "results/deaths.json").read_text()) == [death]


def test_a_fault_is_played(stage: Stage, folder: Path) -> None:
    smallest = ("--per-fault", "1", "--fault", "trainer killed", "--data", "small", "--seed", EARLY)
    found = answer(stage, folder, "chaos", *smallest)
    (result,) = found["results"]
    assert found["good"] and result["interruptions"] == 1 and result["weights_equal"]
    assert json.loads((folder / "results/chaos.json").read_text()) == found
    assert re.fullmatch("[0-9a-f]{64}", found["weights"])
