from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from contract.errors import DataError
from trainer import hand_model
from trainer.hand_model import IN_WHEEL, find_hand_model, store_networks, user_cache, verify

CONTENT = {name: name.encode() * 99 for name in IN_WHEEL}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks of a kilobyte instead of the real ones."""
    import hashlib

    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(hand_model, "NETWORKS", hashes)


def good(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)


def bad(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content[:-1] + b"!")


def offline(path: Path) -> None:
    raise DataError("the download failed", why="no network")


def never(path: Path) -> None:
    raise AssertionError("asked")


def test_a_given_file_comes_first_and_is_not_replaced_by_another(tmp_path: Path) -> None:
    good(tmp_path / "mine.task")
    assert find_hand_model(tmp_path / "mine.task", tmp_path / "cache", {"web": never}) == tmp_path / "mine.task"
    bad(tmp_path / "other.task")
    with pytest.raises(DataError, match=r"SHA-256 of hand_detector\.tflite"):
        find_hand_model(tmp_path / "other.task", tmp_path / "cache", {"web": never})
    with pytest.raises(DataError, match="No such file"):
        find_hand_model(tmp_path / "missing.task", tmp_path / "cache", {"web": never})


def test_sources_are_asked_in_turn_and_the_cache_keeps_the_first_good_one(tmp_path: Path) -> None:
    cache = tmp_path / "a/cache"
    found = find_hand_model(None, cache, {"web": offline, "mirror": bad, "wheel": good})
    verify(found)
    assert [path.name for path in cache.iterdir()] == ["hand_landmarker.task"]
    assert find_hand_model(None, cache, {"web": never}) == found


def test_a_damaged_cache_is_fetched_again(tmp_path: Path) -> None:
    for content in (b"", b"not a zip"):
        (tmp_path / "hand_landmarker.task").write_bytes(content)
        verify(find_hand_model(None, tmp_path, {"wheel": good}))


def test_when_nobody_has_it_every_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_hand_model(None, tmp_path, {"web": offline, "mirror": bad})
    assert "web: no network; mirror: the SHA-256" in str(caught.value)
    assert "--model" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="Not a directory"):
        find_hand_model(None, tmp_path / "file/cache", {"wheel": good})


def test_compressed_or_incomplete_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match="is compressed"):
        verify(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr("hand_detector.tflite", CONTENT["hand_detector.tflite"])
    with pytest.raises(DataError, match="hand_landmarks_detector"):
        verify(tmp_path / "b")


def test_both_networks_are_taken_out_of_a_wheel(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, member in IN_WHEEL.items():
            wheel.writestr(member, CONTENT[name])
    store_networks(tmp_path / "x.whl", tmp_path / "model.task")
    verify(tmp_path / "model.task")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(DataError, match="holds no hand model"):
        store_networks(tmp_path / "empty.whl", tmp_path / "model.task")


def test_the_cache_follows_xdg(tmp_path: Path) -> None:
    assert user_cache({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "signspot"
    assert user_cache({"XDG_CACHE_HOME": ""}) == Path.home() / ".cache/signspot"
