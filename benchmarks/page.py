"""`python -m benchmarks.page`: results/bench/*.json → the generated part of docs/benchmarks.md, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from benchmarks.result import FOLDER, Aim, Result, Row, Spread

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
PLOT = DOCS / "img/benchmarks.svg"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
COLUMNS = ("measure", "unit", "ours", "theirs", "ratio", "runs", "aim", "met", "limit", "published")
MET = {True: "yes", False: "**no**", None: ""}


def read(folder: Path, names: Sequence[str] = ()) -> list[Result]:
    """Every result there is, first those named, in their order. What cannot be read is a result that says so."""
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}
    results = []
    for name in [*names, *(stem for stem in files if stem not in names)]:
        try:
            results.append(Result.model_validate_json(files[name].read_bytes()))
        except KeyError:
            results.append(Result(name=name, what="", how="", skipped="it has not been run"))
        except ValidationError as error:
            why = f"{files[name].name} is no Result: {error.error_count()} fields are wrong"
            results.append(Result(name=name, what="", how="", skipped=why))
    return results


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
    verdicts = [row.met for result in results for row in result.rows]
    absent = [result.name for result in results if result.skipped]
    beyond = sum(row.out_of_reach for result in results for row in result.rows)
    head = f"{verdicts.count(True)} of {len(verdicts) - verdicts.count(None)} aims are met"
    if beyond:
        head += (
            f"; {beyond} more {'is' if beyond == 1 else 'are'} out of anybody's reach: the least (*limit*), measured "
        )
        head += "beside it, misses it too" if beyond == 1 else "beside them, misses them too"
    head += f"; not measured: {', '.join(absent)}." if absent else "."
    rows = [line for result in results for line in section(result)]
    return "\n".join([head, "", f"![ratios]({PLOT.relative_to(DOCS)})", "", *rows]).rstrip()


def plot(results: Sequence[Result], target: Path) -> None:
    """Every ratio that has an aim as a dot with its quartiles, beside it; the same results give the same file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    points = [
        (f"{result.name}: {row.measure}" + (f" / {row.against}" if row.against else ""), row, row.ratio, row.aim)
        for result in results
        for row in result.rows
        if row.ratio and row.ratio.low > 0 and row.aim and row.aim.of == "ratio"
    ]
    if not points:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "signspot", "font.size": 8}):
        figure = Figure(figsize=(8, 0.6 + 0.24 * len(points)), layout="constrained")
        axes = figure.subplots()
        for place, (_, row, ratio, aim) in enumerate(points):
            color = "#2a7f3f" if row.met else "#b3261e"
            axes.plot([ratio.low, ratio.high], [place, place], color=color)
            axes.plot(ratio.median, place, "o", color=color, markersize=4)
            axes.plot(aim.number, place, "|", color="black", markersize=9)
        axes.axvline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(points)), [label for label, *_ in points])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("ours / theirs; | the aim")
        figure.savefig(target, format="svg", metadata={"Date": None})


def write(folder: Path = FOLDER, names: Sequence[str] = (), page: Path = PAGE, picture: Path = PLOT) -> None:
    """Replace the generated part of the page; what a person wrote around it stays."""
    results = read(folder, names)
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}", encoding="utf-8")
    plot(results, picture)


if __name__ == "__main__":
    from benchmarks.__main__ import ALL

    write(names=[benchmark.name for benchmark in ALL])
