"""Traces: files of real fleets, and the generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.availability import HOUR, Offer, Rates, Trace, generate, merge, read
from contract.errors import DataError

SPOT = Path(__file__).resolve().parents[3] / "shared/data/spot"


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_events_become_offers(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "0,add,a\n5,add,b\n9,remove,a\n9,add,a\n12,remove,b\n"), random())
    assert sorted(trace.offers, key=lambda offer: offer.start) == [Offer(0, 9), Offer(5, 12), Offer(9, 12)]
    assert trace.until == 12


def test_one_that_came_and_went_at_once_is_no_offer(tmp_path: Path) -> None:
    assert read(written(tmp_path, "0,add,a\n0,remove,a\n3,add,b\n4,remove,b\n"), random()).offers == (Offer(3, 4),)


counts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=20)


@given(counts, st.integers(0, 9))
def test_counts_become_as_many_offers_at_any_time(steps: list[tuple[int, int]], seed: int) -> None:
    import tempfile

    times = np.cumsum([wait for wait, _ in steps]).tolist()
    lines = [(time, count) for time, (_, count) in zip(times, steps, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        trace = read(written(Path(folder), "".join(f"{time},{count}\n" for time, count in lines)), random(seed))
    assert trace.until == lines[-1][0] * 1000
    for now in range(lines[-1][0]):
        known = [count for time, count in lines if time <= now]
        assert len(trace.at(now * 1000)) == (known[-1] if known else 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither three columns"),
        ("0,add\n1,add,b\n", "neither three columns"),
        ("0,added,a\n", "neither add nor remove"),
        ("5,add,a\n4,add,b\n", "time goes back"),
        ("5,add,a\n6,add,a\n", "added twice"),
        ("5,remove,a\n", "was not there"),
        ("0.5,3\n", "invalid literal"),
        ("5,-1\n", "negative"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match="is no trace") as refused:
        read(written(tmp_path, text), random())
    assert why in refused.value.why


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "nothing.csv", random())


def test_zones_are_known_as_long_as_the_shortest() -> None:
    zones = [Trace((Offer(0, 10), Offer(12, 20)), 20), Trace((Offer(3, 8),), 11)]
    assert merge(zones) == Trace((Offer(0, 10), Offer(3, 8)), 11)
    assert Trace((Offer(0, 10),), 20).before(7) == Trace((Offer(0, 7),), 7)


def test_the_generator_keeps_its_rates() -> None:
    trace = generate(1, Rates(2, 0.5), 20_000 * HOUR, random(1))
    lengths = [(offer.end - offer.start) / HOUR for offer in trace.offers]
    share = sum(lengths) / 20_000
    assert np.mean(lengths) == pytest.approx(2, rel=0.05)
    assert np.std(lengths) == pytest.approx(2, rel=0.1)
    assert share == pytest.approx(2 / 2.5, rel=0.02)


def test_a_seed_is_a_trace_and_more_zones_add_to_it() -> None:
    one, again, three = (generate(zones, Rates(2, 0.5), 50 * HOUR, random(7)) for zones in (1, 1, 3))
    assert one == again != generate(1, Rates(2, 0.5), 50 * HOUR, random(8))
    assert set(one.offers) < set(three.offers)


@pytest.mark.parametrize(("name", "offers", "open_at_the_end"), [("g4dn", 79, 5), ("p3", 177, 10)])
def test_the_traces_of_bamboo(name: str, offers: int, open_at_the_end: int) -> None:
    path = SPOT / f"{name}-trace.csv"
    if not path.exists():
        pytest.skip("no traces: ../shared/data/spot is absent")
    trace = read(path, random())
    ends = [offer.end for offer in trace.offers]
    lines = path.read_text().splitlines()
    assert len(ends) == offers == sum(",add," in line for line in lines)
    assert ends.count(trace.until) - sum(line.startswith(f"{trace.until},remove") for line in lines) == open_at_the_end


def test_counts_of_bamboo() -> None:
    paths = sorted(SPOT.glob("aws-*[0-9].csv"))
    if not paths:
        pytest.skip("no traces: ../shared/data/spot is absent")
    for path in paths:
        trace = read(path, random())
        highest = max(int(line.split(",")[1]) for line in path.read_text().splitlines())
        assert max(len(trace.at(offer.start)) for offer in trace.offers) == highest
