from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path

import pytest

from trainer.imports import absent, quick_imports


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


@pytest.mark.parametrize("searching", [True, False])
def test_no_garbage_is_looked_for_within_and_afterwards_as_before(
    searching: bool, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(gc.enable if gc.isenabled() else gc.disable)
    (gc.enable if searching else gc.disable)()
    with pytest.raises(ImportError), quick_imports():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() == searching
