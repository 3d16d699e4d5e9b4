from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.result import Aim, Result, Row, Spread


def test_the_ratio_is_of_pairs_and_not_of_medians() -> None:
    row = Row(measure="time", unit="s", ours=(1, 20, 3), theirs=(2, 10, 6))
    ratio = row.ratio
    assert ratio == Spread(median=0.5, low=0.5, high=1.25, count=3)


@pytest.mark.parametrize(
    ("aim", "met"),
    [
        (Aim(number=0.5), True),
        (Aim(number=0.4), False),
        (Aim(number=2, direction="at least"), False),
        (Aim(number=1, of="ours"), False),
        (Aim(number=3, of="ours"), True),
    ],
)
def test_an_aim_is_met_or_not(aim: Aim, met: bool) -> None:
    assert Row(measure="time", unit="s", ours=(1, 2, 3), theirs=(2, 4, 6), aim=aim).met is met


def test_without_a_baseline_there_is_no_ratio_and_no_verdict_on_it() -> None:
    row = Row(measure="time", unit="s", ours=(1, 2), aim=Aim(number=1))
    assert (row.ratio, row.met) == (None, None)
    assert Row(measure="time", unit="s", ours=(1, 2), aim=Aim(number=2, of="ours")).met is True


def test_unpaired_values_are_refused() -> None:
    with pytest.raises(ValidationError):
        Row(measure="time", unit="s", ours=(1, 2), theirs=(1,))
    with pytest.raises(ValidationError):
        Row(measure="time", unit="s", ours=(1, 2), theirs=(1, 2), least=(1,))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    result = Result(name="x", what="a", how="b", rows=(Row(measure="m", unit="s", ours=(1,)),))
    result.write(tmp_path / "deep/x.json")
    assert Result.model_validate_json((tmp_path / "deep/x.json").read_bytes()) == result
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.json"]
