from __future__ import annotations

from pathlib import Path

import pytest

from trainer.atomic import replacing


@pytest.mark.parametrize("durable", [True, False])
def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path, durable: bool) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with replacing(target, durable=durable) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_an_error_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="full"), replacing(target) as temporary:
        temporary.write_text("ne")
        raise OSError("full")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
