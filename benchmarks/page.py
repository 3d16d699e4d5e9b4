"""`python -m benchmarks.page`: results/bench/*.json → their sections of docs/benchmarks.md, and its picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from benchmarks.result import FOLDER, Aim, Result, Row, Spread

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
PLOT = DOCS / "img/benchmarks.svg"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
COLUMNS = ("measure", "unit", "ours", "theirs", "ratio", "runs", "aim", "met", "limit", "published")
LABEL_LETTERS = 64
OUT_OF_REACH = ": out of reach"
NUMBER = re.compile(r"[\d.,]*\d")
RATIO_AIM = re.compile(r"[≤≥] ([\d.]+)×")
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
    limit = f"{spread(row.limit)}{OUT_OF_REACH if row.out_of_reach else ''}" if row.met is False else ""
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


def kept(page: str) -> dict[str, list[str]]:
    """The sections of a generated part, by name: what is not measured again stays, with its own day and machine."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in page.splitlines():
        if line.startswith("## "):
            lines = found[line.removeprefix("## ")] = []
        lines.append(line)
    return found


def table(section: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a section, cell by column."""
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in section if line.startswith("| ")]
    return [dict(zip(rows[0], map(str.strip, row), strict=True)) for row in rows[1:] if row[0] != "---"]


def markdown(sections: Mapping[str, Sequence[str]]) -> str:
    rows = [row for section in sections.values() for row in table(section)]
    missed = [row for row in rows if row["met"] == MET[False]]
    beyond = sum(OUT_OF_REACH in row.get("limit", "") for row in missed)
    met = sum(row["met"] == MET[True] for row in rows)
    absent = [name for name, section in sections.items() if not table(section)]
    head = f"{met} of {met + len(missed)} aims are met"
    if beyond:
        are, them = ("is", "it") if beyond == 1 else ("are", "them")
        head += f"; {beyond} more {are} out of reach: the least (*limit*), measured beside {them}, misses the aim, too"
    head += f"; not measured: {', '.join(absent)}." if absent else "."
    lines = [line for section in sections.values() for line in section]
    return "\n".join([head, "", f"![ratios]({PLOT.relative_to(DOCS)})", "", *lines]).rstrip()


def label(name: str, measure: str) -> str:
    text = f"{name}: {measure.replace('`', '').replace(', against ', ' / ')}"
    half = LABEL_LETTERS // 2
    return text if len(text) <= LABEL_LETTERS else f"{text[: half - 1]}…{text[-half:]}"


def plot(sections: Mapping[str, Sequence[str]], target: Path) -> None:
    """Every ratio that has an aim as a dot with its quartiles, beside it, and what the least is where it is missed; the
    same page gives the same file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    points = []
    for name, section in sections.items():
        for row in table(section):
            values = [float(value.replace(",", "")) for value in NUMBER.findall(row["ratio"])]
            if values and (aim := RATIO_AIM.fullmatch(row["aim"])) and min(values) > 0:
                least = [float(value) for value in NUMBER.findall(row.get("limit", ""))[:1]]
                points.append((label(name, row["measure"]), values, float(aim[1]), least, row["met"] == MET[True]))
    if not points:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "signspot", "font.size": 8}):
        figure = Figure(figsize=(9, 0.6 + 0.2 * len(points)), layout="constrained")
        axes = figure.subplots()
        for place, (_, (median, *quartiles), wanted, least, met) in enumerate(points):
            color = "#2a7f3f" if met else "#b3261e"
            axes.plot(quartiles or [median], [place] * (len(quartiles) or 1), color=color)
            axes.plot(median, place, "o", color=color, markersize=4)
            axes.plot(wanted, place, "|", color="black", markersize=9)
            axes.plot(least, [place] * len(least), ">", color="#999999", markersize=4)
        axes.axvline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(points)), [label for label, *_ in points])
        axes.set_ylim(len(points) - 0.3, -0.7)
        axes.set_xscale("log")
        axes.set_xlabel("ours / theirs; | the aim; ▸ the least, where it is missed")
        figure.savefig(target, format="svg", metadata={"Date": None})


def write(folder: Path = FOLDER, names: Sequence[str] = (), page: Path = PAGE, picture: Path = PLOT) -> None:
    """Replace what was measured again in the generated part of the page; what a person wrote around it stays."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    generated, _, after = rest.partition(END)
    old, new = kept(generated), {result.name: result for result in read(folder)}
    sections = {}
    for name in dict.fromkeys((*names, *new, *old)):
        unknown = Result(name=name, what="", how="", skipped="it has not been run")
        sections[name] = section(new[name]) if name in new else old.get(name) or section(unknown)
    page.write_text(f"{before}{BEGIN}\n{markdown(sections)}\n{END}{after}", encoding="utf-8")
    plot(sections, picture)


if __name__ == "__main__":
    from benchmarks.__main__ import ALL

    write(names=[benchmark.name for benchmark in ALL])
