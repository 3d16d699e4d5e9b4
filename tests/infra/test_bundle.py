from __future__ import annotations

from pathlib import Path

from contract.config import Config, DataConfig
from infra.bundle import stage

HOME = Path(__file__).resolve().parents[2]


def staged(tmp_path: Path, config: Config) -> dict[str, bytes]:
    stage(HOME, config, tmp_path)
    return {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_the_bundle_holds_what_the_box_runs_and_nothing_else(tmp_path: Path) -> None:
    files = staged(tmp_path, Config())
    assert {"bootstrap/agent.py", "contract/config.py", "trainer/train.py", "config.json"} <= set(files)
    assert {"requirements/box.txt", "requirements/box-gpu.txt", "requirements/uv.txt"} <= set(files)
    assert {name.split("/")[0] for name in files} == {"bootstrap", "contract", "trainer", "requirements", "config.json"}
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]


def test_the_box_can_read_its_settings_back(tmp_path: Path) -> None:
    config = Config.model_validate({"trainer": {"epochs": 7}, "data": {"path": "s3://your-bucket/signs"}})
    assert Config.model_validate_json(staged(tmp_path, config)["config.json"]) == config


def test_no_path_of_the_laptop_is_in_the_bundle(tmp_path: Path) -> None:
    files = staged(tmp_path, Config(data=DataConfig(path="/home/me/secret-project")))
    assert not [name for name, content in files.items() if b"secret-project" in content]


def test_a_trainer_of_ones_own_is_brought_without_what_is_hidden(tmp_path: Path) -> None:
    own = tmp_path / "secret-project/code"
    for name in ("train.py", "requirements.txt", "parts/layers.py", ".env", ".git/config", "parts/__pycache__/x.pyc"):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(name)
    (own / "gone").symlink_to(tmp_path / "nowhere")
    config = Config.model_validate({"run": {"code": str(own)}, "trainer": {"command": ["python", "train.py"]}})
    (tmp_path / "bundle").mkdir()
    files = staged(tmp_path / "bundle", config)
    assert {name for name in files if name.startswith("code/")} == {
        "code/train.py",
        "code/requirements.txt",
        "code/parts/layers.py",
    }
    assert Config.model_validate_json(files["config.json"]).run.code == "code"
    assert not [name for name, content in files.items() if b"secret-project" in content]
