from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import DataError
from trainer.keypoints import load_keypoints, parse_keypoints

GOOD = np.ones((5, 2, 21, 3), np.float32)


def npy(array: Any, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def changed(value: float) -> np.ndarray[Any, Any]:
    array = GOOD.copy()
    array[3, 1, 4, 2] = value
    return array


def test_good_file(tmp_path: Path) -> None:
    np.save(tmp_path / "ñandú.npy", GOOD)
    keypoints = load_keypoints(tmp_path / "ñandú.npy")
    assert keypoints.dtype == np.float32
    np.testing.assert_array_equal(keypoints, GOOD)


def test_float64_becomes_float32() -> None:
    assert parse_keypoints(npy(GOOD.astype(np.float64)), "clip").dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .npy"),
        (b"path,label\n", "not a .npy"),
        (npy(GOOD)[:-1], "not a .npy"),
        (npy(np.array([{}], dtype=object), pickled=True), "not a .npy"),
        (npy(GOOD).replace(b"(5, 2, 21, 3)", b"(99999999999)"), "not a .npy"),
        (npy(GOOD).replace(b"(5, 2, 21, 3)", b"(9999999999,)"), "not a .npy"),
        (npy(GOOD).replace(b"(5, 2, 21, 3)", b"(5, 2, 21, 3("), "not a .npy"),
        (npy(GOOD).replace(b"(5, 2, 21, 3)", b"(5, 2, 21, 3 "), "not a .npy"),
        (npy(GOOD).replace(b"'shape'", b"b'shap'"), "not a .npy"),
        (npy(np.full((5, 2, 21, 3), "x")), "not real numbers"),
        (npy(GOOD.astype(np.complex64)), "not real numbers"),
        (npy(GOOD[:, :1]), r"shape \(5, 1, 21, 3\)"),
        (npy(GOOD[0]), r"shape \(2, 21, 3\)"),
        (npy(GOOD[:0]), "no frame"),
        (npy(changed(np.nan)), "NaN or infinite values, first in frame 3"),
        (npy(changed(-np.inf)), "NaN or infinite values, first in frame 3"),
        (npy(GOOD.astype(np.float64) * 1e300), "too large"),
    ],
)
def test_bad_content_names_the_file(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        parse_keypoints(content, "hello/0001.npy")
    assert refusal.value.what.startswith("hello/0001.npy ")
    assert refusal.value.mend


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npy does not exist"):
        load_keypoints(tmp_path / "gone.npy")


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_keypoints(tmp_path)
