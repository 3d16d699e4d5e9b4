from __future__ import annotations

from pathlib import Path

from benchmarks import page
from benchmarks.__main__ import ALL
from benchmarks.result import Aim, Baseline, Machine, Published, Result, Row

MACHINE = Machine(processor="Some CPU", cores=2, memory_gib=15.6, system="Linux 6", python="3.11.7", load=0.1)
RESULT = Result(
    name="start",
    what="How long a start takes.",
    how="From boot to step 1.",
    baselines=(Baseline(name="the guide", version="1.2"), Baseline(name="rclone", missing="it is not installed")),
    rows=(
        Row(measure="warm", unit="s", ours=(1, 2, 3), theirs=(4, 8, 12), aim=Aim(number=0.25)),
        Row(measure="cold", unit="s", ours=(20,), theirs=(40,), aim=Aim(number=0.25), against="the guide"),
        Row(measure="lost", unit="steps", ours=(0,), aim=Aim(number=1, of="ours")),
    ),
    published=(Published(who="somebody", value="1 min 41 s", source="https://example.org/1"),),
    limit="Cold, the index is the limit.",
    machine=MACHINE,
)


def written(tmp_path: Path, *results: Result, names: tuple[str, ...] = ()) -> str:
    for result in results:
        result.write(tmp_path / "results" / f"{result.name}.json")
    target = tmp_path / "page.md"
    if not target.exists():
        target.write_text(f"By hand.\n{page.BEGIN}\nof yesterday\n{page.END}\nBelow.\n")
    page.write(tmp_path / "results", names, tmp_path / "kept", target, tmp_path / "img/plot.svg")
    return target.read_text()


def test_the_page_says_what_how_against_what_and_how_it_ended(tmp_path: Path) -> None:
    text = written(tmp_path, RESULT)
    assert "2 of 3 aims are met." in text
    assert "How long a start takes. From boot to step 1." in text
    assert "Against the guide 1.2.\n" in text
    assert "Against rclone: not measured, it is not installed." in text
    assert (
        "| warm | s | 2 (1.5 to 2.5) | 8 (6 to 10) | 0.25 (0.25 to 0.25) | 3 | ≤ 0.25× | yes |  "
        "| 1 min 41 s: [somebody](https://example.org/1) |"
    ) in text
    assert "| cold, against the guide | s | 20 | 40 | 0.5 | 1 | ≤ 0.25× | **no** |  |  |" in text
    assert "| lost | steps | 0 |  |  | 1 | ≤ 1 steps | yes |  |  |" in text
    assert "Cold, the index is the limit." in text
    assert "Some CPU, 2 cores, 15.6 GiB" in text


def test_an_aim_that_the_least_misses_too_is_out_of_reach(tmp_path: Path) -> None:
    def row(measure: str, ours: float, least: float) -> Row:
        return Row(measure=measure, unit="s", ours=(ours,), theirs=(10,), least=(least,), aim=Aim(number=0.5))

    rows = (row("beyond", 8, 6), row("in reach", 8, 4), row("met", 5, 4))
    text = written(tmp_path, RESULT.model_copy(update={"rows": rows}))
    assert "1 of 3 aims are met; 1 more is out of reach" in text
    assert "| beyond | s | 8 | 10 | 0.8 | 1 | ≤ 0.5× | **no** | 0.6: out of reach |" in text
    assert "| in reach | s | 8 | 10 | 0.8 | 1 | ≤ 0.5× | **no** | 0.4 |" in text
    assert "| met | s | 5 | 10 | 0.5 | 1 | ≤ 0.5× | yes |  |" in text


def test_what_is_not_measured_again_stays_with_its_day(tmp_path: Path) -> None:
    first = written(tmp_path, RESULT)
    (tmp_path / "results/start.json").unlink()
    other = RESULT.model_copy(update={"name": "sync", "rows": RESULT.rows[:1]})
    text = written(tmp_path, other, names=("sync", "start"))
    section = first[first.index("## start") : first.index(f"\n{page.END}")]
    assert section in text and text.index("## sync") < text.index("## start")
    assert "3 of 4 aims are met." in text
    assert (tmp_path / "img/plot.svg").read_text().count("warm") == 2


def test_what_a_person_wrote_stays(tmp_path: Path) -> None:
    text = written(tmp_path, RESULT)
    assert text.startswith("By hand.\n") and text.endswith("\nBelow.\n")
    assert "yesterday" not in text


def test_what_is_missing_or_of_another_form_is_said(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/sync.json").write_text('{"seconds": 3}')
    text = written(tmp_path, RESULT, names=("growth", "start"))
    assert "not measured: growth, sync." in text
    assert text.index("## growth") < text.index("## start") < text.index("## sync")
    assert "Not measured: it has not been run." in text
    assert "Not measured: sync.json is no Result" in text


def test_the_page_of_the_project_is_what_was_measured() -> None:
    results = page.in_order(page.read(page.KEPT), [benchmark.name for benchmark in ALL])
    assert f"{page.BEGIN}\n{page.markdown(results)}\n{page.END}" in page.PAGE.read_text(encoding="utf-8")


def test_the_same_results_give_the_same_picture(tmp_path: Path) -> None:
    for name in ("one", "other"):
        page.plot([RESULT], tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert len((tmp_path / "one.svg").read_bytes()) < 100_000
