from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.config import TrainerConfig
from contract.errors import DataError
from trainer.checkpoint import (
    Checkpoint,
    Origin,
    Writer,
    check_origin,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from trainer.dataset import Dataset, Split
from trainer.normalise import CHANNELS, VERSION
from trainer.sequences import Sequences
from trainer.state import State

ORIGIN = Origin(fingerprint="f" * 64, labels=("can", "té"), settings=TrainerConfig())


def checkpoint(step: int = 7) -> Checkpoint:
    state = State(train_epoch=1)
    for _ in range(step):
        state.add_step(0.1, 1, 4)
    random = np.random.default_rng(step)
    learner = [random.random((3, 4), np.float32), np.array(5, np.int64), np.array([1, 2], np.uint32)]
    return Checkpoint(ORIGIN, state, learner, [random.random(4, np.float32)])


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.origin == other.origin
    assert one.state == other.state
    for left, right in zip([*one.learner, *one.best], [*other.learner, *other.best], strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "new", checkpoint())
    assert path.name == "step-00000007.ckpt"
    assert_same(read_checkpoint(path), checkpoint())


def test_only_the_newest_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".step-00000003.ckpt").write_bytes(b"left by a kill")
    (tmp_path / "keep.txt").write_text("not ours")
    for step in (3, 9, 5):
        write_checkpoint(tmp_path, checkpoint(step))
    assert names(tmp_path) == ["keep.txt", "step-00000005.ckpt"]


def test_no_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "missing") is None


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text"])
def test_a_damaged_newest_file_falls_back_and_says_so(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    older = write_checkpoint(tmp_path, checkpoint(5)).read_bytes()
    newest = write_checkpoint(tmp_path, checkpoint(8))
    (tmp_path / "step-00000005.ckpt").write_bytes(older)
    content = bytearray(newest.read_bytes())
    content[content.index(b"loss_sum")] ^= 1
    newest.write_bytes(
        {"empty": b"", "cut": content[: len(content) // 2], "flipped": bytes(content), "text": b"no zip"}[damage]
    )
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert_same(found, checkpoint(5))
    assert "step-00000008.ckpt is damaged" in capsys.readouterr().out


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, checkpoint())
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="damaged"):
            read_checkpoint(path)


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    """Some bytes of a zip's own headers, such as times, mean nothing to us."""
    path = write_checkpoint(tmp_path, checkpoint())
    content = path.read_bytes()
    noticed, masks = 0, itertools.cycle((1, 2, 4, 8, 16, 32, 64, 128))
    for position in range(0, len(content), 3):
        path.write_bytes(content[:position] + bytes([content[position] ^ next(masks)]) + content[position + 1 :])
        try:
            found = read_checkpoint(path)
        except DataError:
            noticed += 1
        else:
            assert_same(found, checkpoint())
    assert noticed > len(content) / 3 / 2


def test_never_from_zero_over_damaged_work(tmp_path: Path) -> None:
    (tmp_path / "step-00000008.ckpt").write_bytes(b"")
    with pytest.raises(DataError, match=r"no checkpoint in .* can be read"):
        newest_checkpoint(tmp_path)


def changed(**values: Any) -> Origin:
    return ORIGIN.model_copy(update=values)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (changed(fingerprint="0" * 64), "the dataset differs: fingerprint ffffffffffff then, 000000000000 now"),
        (changed(labels=("can", "tea")), r"the labels differ: without \['té'\], with \['tea'\]"),
        (changed(settings=TrainerConfig(units=64)), "trainer.units was 128, is 64"),
        (changed(settings=TrainerConfig(batch_size=16)), "trainer.batch_size was 32, is 16"),
        (changed(preprocessing=2), r"the preprocessing \(trainer/normalise.py\) was version 1, is 2"),
    ],
)
def test_another_training_is_refused_by_name(now: Origin, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_origin(checkpoint(), now)


def test_a_checkpoint_of_before_versions_is_of_the_first() -> None:
    old = {"fingerprint": "f" * 64, "labels": ["can"], "settings": TrainerConfig().model_dump(mode="json")}
    assert Origin.model_validate(old).preprocessing == 1


def test_the_origin_has_the_version_of_today() -> None:
    empty = Split(Sequences((CHANNELS,)), np.zeros(0, np.int32))
    now = Origin.of(Dataset(("can",), "f" * 64, empty, empty, empty), TrainerConfig())
    assert (now.fingerprint, now.labels, now.preprocessing) == ("f" * 64, ("can",), VERSION)


def set_to(**values: Any) -> Origin:
    return changed(settings=ORIGIN.settings.model_copy(update={"schedule": "constant", **values}))


def test_more_epochs_and_patience_may_be_given_later() -> None:
    assert not set_to().differences(set_to(epochs=200, patience=20, command=("sh",)))


def test_under_a_cosine_the_number_of_epochs_decides() -> None:
    found = set_to(schedule="cosine", epochs=100).differences(set_to(schedule="cosine", epochs=200))
    assert found == ["trainer.epochs was 100, is 200"]


@pytest.mark.parametrize("name", sorted(set(TrainerConfig.model_fields) - {"command", "epochs", "patience"}))
def test_every_other_setting_decides(name: str) -> None:
    found = set_to(**{name: 1}).differences(set_to(**{name: 2}))
    assert found == [f"trainer.{name} was 1, is 2"]


def test_the_writer_writes_in_order(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for step in (1, 2, 3):
        writer.write(checkpoint(step))
    writer.close()
    assert names(tmp_path) == ["step-00000003.ckpt"]


def test_a_checkpoint_that_cannot_be_written_is_told_and_the_next_one_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    folder.write_text("a file where the folder should be, as good as a full disk")
    writer = Writer(folder)
    writer.write(checkpoint(1))
    writer.write(checkpoint(2))
    assert "could not be written" in capsys.readouterr().out
    with contextlib.suppress(OSError):
        writer._wait()
    folder.unlink()
    writer.write(checkpoint(3))
    writer.close()
    assert names(folder) == ["step-00000003.ckpt"]


def test_the_last_checkpoint_is_not_allowed_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = Writer(tmp_path / "file")
    writer.write(checkpoint(1))
    with pytest.raises(OSError):
        writer.close()


@pytest.mark.parametrize("step", ["savez", "fsync", "replace"])
def test_a_failure_at_any_step_keeps_the_older_checkpoint(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, checkpoint(5))

    def fail(*_: object, **__: object) -> None:
        raise OSError("power cut")

    target = {"savez": "numpy.savez", "fsync": "os.fsync", "replace": "pathlib.Path.replace"}[step]
    with monkeypatch.context() as patch:
        patch.setattr(target, fail)
        with pytest.raises(OSError, match="power cut"):
            write_checkpoint(tmp_path, checkpoint(8))
    assert names(tmp_path) == ["step-00000005.ckpt"]
    assert_same(read_checkpoint(tmp_path / "step-00000005.ckpt"), checkpoint(5))
