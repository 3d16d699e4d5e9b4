from __future__ import annotations

import csv
import warnings
from pathlib import Path

import pytest

from contract.config import TrainerConfig
from trainer.dataset import load_dataset
from trainer.export import export
from trainer.loop import Loop
from trainer.sample import make_sample


@pytest.fixture(scope="session")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 words by 4 signers, 48 sequences: 24 to train, 12 to validate, 12 to test. Do not change it."""
    directory = tmp_path_factory.mktemp("data") / "sample"
    make_sample(directory, words=3, signers=4, per_word_and_signer=4)
    return directory


@pytest.fixture(scope="session")
def test_clips(small_sample: Path) -> list[tuple[Path, str]]:
    """File and word of each sequence in the test split."""
    with (small_sample / "dataset.csv").open(newline="") as table:
        return [(small_sample / row["path"], row["label"]) for row in csv.DictReader(table) if row["split"] == "test"]


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, small_sample: Path) -> Path:
    """An exported model, trained on `small_sample` for a few seconds. Do not change it."""
    from trainer.learner import Learner

    config = TrainerConfig.model_validate(
        {
            **{"units": 16, "epochs": 12, "batch_size": 4, "learning_rate": 0.01, "convolutions": 0},
            **{"augment": False, "schedule": "constant", "warmup_epochs": 0, "label_smoothing": 0},
        }
    )
    dataset = load_dataset(small_sample)
    loop = Loop(
        Learner(config, len(dataset.labels)),
        dataset,
        config,
        save=lambda _: None,
        report=lambda _: None,
        check_stop=lambda: None,
        checkpoint_seconds=1000,
    )
    loop.run()
    directory = tmp_path_factory.mktemp("model") / "ünïcode"
    with warnings.catch_warnings():
        # Keras 3.15 saves weights through NumPy's older conversion protocol.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        export(loop, directory)
    return directory
