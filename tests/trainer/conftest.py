from __future__ import annotations

from pathlib import Path

import pytest

from trainer.sample import make_sample


@pytest.fixture(scope="session")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 words by 4 signers, 48 sequences: 24 to train, 12 to validate, 12 to test. Do not change it."""
    directory = tmp_path_factory.mktemp("data") / "sample"
    make_sample(directory, words=3, signers=4, per_word_and_signer=4)
    return directory
