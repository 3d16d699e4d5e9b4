"""`python -m benchmarks.page`: results/bench/*.json → docs/bench/*.json → docs/benchmarks.md and its picture.

The first are of this checkout; the second, with every value, are kept beside the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from benchmarks.result import FOLDER, Aim, Result, Row, Spread

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
PLOT = DOCS / "img/benchmarks.svg"
KEPT = DOCS / "bench"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
COLUMNS = ("measure", "unit", "ours", "theirs", "ratio", "runs", "aim", "met", "limit", "published")
LABEL_LETTERS = 64
MET = {True: "yes", False: "**no**", None: ""}


def read(folder: Path) -> list[Result]:
    """Every result there is. What cannot be read is a result that says so."""
    results = []
    for file in sorted(folder.glob("*.json")):
        try:
            results.append(Result.model_validate_json(file.read_bytes()))
        except ValidationError as error:
            why = f"{file.name} is no Result: {error.error_count()} fields are wrong"
            results.append(Result(name=file.stem, what="", how="", skipped=why))
    return results


def in_order(results: Sequence[Result], names: Sequence[str]) -> list[Result]:
    """Those of `names` first; one that is not there is a result that says so."""
    unknown = {name: Result(name=name, what="", how="", skipped="it has not been run") for name in names}
    found = unknown | {result.name: result for result in results}
    return [found[name] for name in dict.fromkeys((*names, *found))]


def number(value: float) -> str:
    """Three digits that count: 0.0123, 4.56, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(values: Spread | None) -> str:
    """Median, and the quartiles where there is more than one value."""
    if values is None:
        return ""
    quartiles = f" ({number(values.low)} to {number(values.high)})" if values.count > 1 else ""
    return number(values.median) + quartiles


def aim(wanted: Aim | None, unit: str) -> str:
    if wanted is None:
        return ""
    sign = "≤" if wanted.direction == "at most" else "≥"
    return f"{sign} {number(wanted.number)}{'×' if wanted.of == 'ratio' else f' {unit}'.rstrip()}"


def line(row: Row, published: str) -> str:
    measure = f"{row.measure}, against {row.against}" if row.against else row.measure
    theirs = Spread.of(row.theirs) if row.theirs else None
    cells = (measure, row.unit, spread(Spread.of(row.ours)), spread(theirs), spread(row.ratio), str(len(row.ours)))
    limit = f"{spread(row.limit)}{': out of reach' if row.out_of_reach else ''}" if row.met is False else ""
    return "| " + " | ".join((*cells, aim(row.aim, row.unit), MET[row.met], limit, published)) + " |"


def section(result: Result) -> list[str]:
    """One benchmark: what, how, against what, the rows, and the limit where an aim is missed."""
    said = f"{result.what} {result.how}".strip()
    lines = [f"## {result.name}", "", *([said, ""] if said else [])]
    if result.skipped:
        return [*lines, f"Not measured: {result.skipped}.", ""]
    for baseline in result.baselines:
        version = f" {baseline.version}" if baseline.version else ""
        absent = f": not measured, {baseline.missing}" if baseline.missing else ""
        lines += [f"Against {baseline.name}{version}{absent}.", ""]
    published = "; ".join(f"{one.value}: [{one.who}]({one.source})" for one in result.published)
    table = [line(row, published if not place else "") for place, row in enumerate(result.rows)]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS), *table, ""]
    if result.limit:
        lines += [result.limit, ""]
    here = result.machine
    return [
        *lines,
        f"{result.measured:%Y-%m-%d}, {here.processor}, {here.cores} cores, {number(here.memory_gib)} GiB, "
        f"{here.system}, Python {here.python}; load before: {number(here.load)}.",
        "",
    ]


def markdown(results: Sequence[Result]) -> str:
    rows = [row for result in results for row in result.rows]
    missed = [row for row in rows if row.met is False]
    beyond = sum(row.out_of_reach for row in missed)
    met = sum(row.met is True for row in rows)
    absent = [result.name for result in results if result.skipped]
    head = f"{met} of {met + len(missed)} aims are met"
    if beyond:
        are, them = ("is", "it") if beyond == 1 else ("are", "them")
        head += f"; {beyond} more {are} out of reach: the least (*limit*), measured beside {them}, misses the aim, too"
    head += f"; not measured: {', '.join(absent)}." if absent else "."
    lines = [line for result in results for line in section(result)]
    return "\n".join([head, "", f"![ratios]({PLOT.relative_to(DOCS)})", "", *lines]).rstrip()


def label(result: Result, row: Row) -> str:
    text = f"{result.name}: {row.measure}{f' / {row.against}' if row.against else ''}".replace("`", "")
    half = LABEL_LETTERS // 2
    return text if len(text) <= LABEL_LETTERS else f"{text[: half - 1]}…{text[-half:]}"


def plot(results: Sequence[Result], target: Path) -> None:
    """Every ratio that has an aim as a dot with its quartiles, beside it, and what the least is where it is missed; the
    same results give the same file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    points = [
        (label(result, row), row, row.aim.number, row.ratio)
        for result in results
        for row in result.rows
        if row.aim and row.aim.of == "ratio" and row.ratio
    ]
    if not points:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "signspot", "font.size": 8}):
        figure = Figure(figsize=(9, 0.6 + 0.2 * len(points)), layout="constrained")
        axes = figure.subplots()
        for place, (_, row, wanted, ratio) in enumerate(points):
            color = "#2a7f3f" if row.met else "#b3261e"
            axes.plot([ratio.low, ratio.high], [place, place], color=color)
            axes.plot(ratio.median, place, "o", color=color, markersize=4)
            axes.plot(wanted, place, "|", color="black", markersize=9)
            if row.limit and not row.met:
                axes.plot(row.limit.median, place, ">", color="#999999", markersize=4)
        axes.axvline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(points)), [label for label, *_ in points])
        axes.set_ylim(len(points) - 0.3, -0.7)
        axes.set_xscale("log")
        axes.set_xlabel("ours / theirs; | the aim; ▸ the least, where it is missed")
        figure.savefig(target, format="svg", metadata={"Date": None})


def write(
    measured: Path = FOLDER, names: Sequence[str] = (), kept: Path = KEPT, page: Path = PAGE, picture: Path = PLOT
) -> None:
    """Take over what was measured, and make the generated part of the page of all that is kept.

    What was not measured again stays with its own day and machine, and so does what a person wrote around it.
    """
    for result in read(measured):
        result.write(kept / f"{result.name}.json")
    results = in_order(read(kept), names)
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}", encoding="utf-8")
    plot(results, picture)


if __name__ == "__main__":
    from benchmarks.__main__ import ALL

    write(names=[benchmark.name for benchmark in ALL])
