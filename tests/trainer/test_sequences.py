from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import DataError
from trainer.sequences import Sequences


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), max_size=30), st.sampled_from([(), (3,), (2, 5)]))
def test_what_is_appended_is_read_in_any_order(lengths: list[int], shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    arrays = [random.random((length, *shape), np.float32) for length in lengths]
    packed = Sequences.of(arrays, shape)
    assert len(packed) == len(arrays)
    assert packed.lengths.tolist() == lengths
    for index in random.permutation(len(arrays)):
        np.testing.assert_array_equal(packed[index], arrays[index])


def test_other_layouts_and_widths_become_float32() -> None:
    array = np.arange(24, dtype=np.float64).reshape(4, 6)[:, ::2]
    read = Sequences.of([array], (3,))[0]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, array)


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    packed = Sequences((3,), tmp_path)
    packed.append(np.ones((1000, 3)))
    assert list(tmp_path.iterdir()) == []
    assert packed[0].sum() == 3000


def test_a_sequence_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        Sequences.of([np.ones((2, 3))], (3,))[1]


def test_threads_may_read_at_once() -> None:
    packed = Sequences.of([np.full((50, 100), number) for number in range(64)], (100,))
    with ThreadPoolExecutor(8) as threads:
        sums = list(threads.map(lambda index: float(packed[index % 64].mean()), range(2000)))
    assert sums == [index % 64 for index in range(2000)]


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Sequences((3,), tmp_path)
    packed.append(np.ones((2, 3)))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DataError, match="temporary copy cannot be written") as failure:
            packed.append(np.ones((5, 3)))
    assert "No space left" in failure.value.why
    packed.append(np.full((4, 3), 7))
    assert [len(packed[0]), len(packed[1]), packed[1].max()] == [2, 4, 7]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        Sequences((3,), tmp_path / "file")
