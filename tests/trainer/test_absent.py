from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from trainer.absent import absent


def test_a_module_cannot_be_imported_within_unless_it_is_loaded_and_can_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unneeded.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with absent("unneeded"), pytest.raises(ModuleNotFoundError):
        import_module("unneeded.part")
    with absent("unneeded"), pytest.raises(ModuleNotFoundError):
        import_module("unneeded")
    loaded = import_module("unneeded")
    monkeypatch.setitem(sys.modules, "unneeded", loaded)  # undone at the end
    with absent("unneeded"):
        assert import_module("unneeded") is loaded
    assert import_module("unneeded") is loaded
