"""A page that is one file: no network, no script, light and dark, for a phone and for paper. Enters: text and numbers.
Leaves: HTML, in which everything that was text is escaped; colours are CSS variables, so that charts follow the theme.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

Place = Callable[[float], float]
"""A value → where it stands in the picture."""
LONG = 40
"""Letters of a cell beyond which it may be broken into lines."""
POINTS = 800
"""Of a line, at most: more cannot be told apart."""
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 20, 36
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #667080; --paper: #fff; --edge: #d5dae1; --band: #eef1f5;
  --a: #d9730d; --b: #2563c9; --c: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --dim: #98a2b0; --paper: #14171b; --edge: #363c45;
  --band: #20252c; --a: #f59e4b; --b: #7ab0ff; --c: #ff8a80; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { margin: 0; font-size: 1.7rem } h2 { margin: 2.2rem 0 .6rem; font-size: 1.2rem }
p { margin: .4rem 0 } .dim, figcaption { color: var(--dim); font-size: .9rem }
.box { overflow-x: auto; max-width: 100% } .tall { max-height: 32rem; overflow-y: auto }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--edge); text-align: left; vertical-align: top;
  white-space: nowrap }
td.w { white-space: normal; min-width: 15rem }
th { color: var(--dim); font-weight: 600; background: var(--paper); position: sticky; top: 0 }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)) }
figure { margin: 0 } svg, img { display: block; width: 100%; height: auto }
img, .span { max-width: 44rem }
img { background: #fff; border-radius: 4px }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim) } svg .name { fill: var(--ink) }
pre { margin: .5rem 0; padding: .7rem; background: var(--band); overflow-x: auto; font-size: .85rem }
@media (max-width: 32rem) { th, td { padding: .25rem .35rem } }
@media print { :root { color-scheme: light; --ink: #000; --dim: #444; --paper: #fff; --edge: #bbb; --band: #eee;
  --a: #b85c00; --b: #1d4fa0; --c: #a00 } body { max-width: none; padding: 0; font-size: 11pt }
  .box, .tall { overflow: visible; max-height: none } th, td { white-space: normal } th { position: static }
  figure, tr { break-inside: avoid } h2 { break-after: avoid } pre { white-space: pre-wrap } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser lets the page do: show itself."""


@dataclass(frozen=True)
class Section:
    title: str
    html: str


@dataclass(frozen=True)
class Line:
    """Points of a chart, by growing x; `colour` is a, b or c."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Band:
    """A part of a chart's x axis."""

    label: str
    begin: float
    end: float


@dataclass(frozen=True)
class Mark:
    """A place on a chart's x axis at which something happened."""

    label: str
    at: float


def page(title: str, about: str, sections: Iterable[Section]) -> str:
    """The whole file."""
    body = "\n".join(f"<section>\n<h2>{escape(one.title)}</h2>\n{one.html}\n</section>" for one in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f'<h1>{escape(title)}</h1>\n<p class="dim">{escape(about)}</p>\n{body}\n</body>\n</html>\n'
    )


def paragraph(text: str, *, dim: bool = False) -> str:
    return f"<p{_class('dim' if dim else '')}>{escape(text)}</p>"


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, tall: bool = False) -> str:
    """None is shown as –, numbers as they are to the right; `tall`: scrolls in its own box on a screen."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="box{" tall" if tall else ""}"><table><thead><tr>{top}</tr></thead>\n{body}</table></div>'


def _cell(value: object) -> str:
    if value is None:
        return '<td class="n">–</td>'
    number = isinstance(value, int | float) and not isinstance(value, bool)
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    number |= shown[-2:] == " %" or shown[:1] == "$"
    return f"<td{_class('n' if number else 'w' if len(shown) > LONG else '')}>{escape(shown)}</td>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def share(value: object) -> str | None:
    """0.912 → 91.2 %; None where it is no number."""
    return f"{value:.1%}".replace("%", " %") if isinstance(value, int | float) else None


def charts(*figures: str) -> str:
    return f'<div class="charts">{"".join(figures)}</div>'


def picture(png: bytes, caption: str) -> str:
    data = b64encode(png).decode()
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}"></figure>'


def line_chart(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    *,
    percent: bool = False,
    bands: Sequence[Band] = (),
    marks: Sequence[Mark] = (),
) -> str:
    """Lines over x; the y axis begins at 0. Empty where no line has a point."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    xs = [x for line in lines for x, _ in line.points]
    left, right = min(xs), max(xs)
    ticks = steps(1.0 if percent else max(0.0, *(y for line in lines for _, y in line.points)) or 1.0)
    top = ticks[-1]

    def place(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((x - left) / (right - left) if right > left else 0.5)

    def height(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - y / top)

    low, high = HEIGHT - BOTTOM, TOP
    parts = list(_bands(bands, place, left, right, low - 5 if percent else high + 11))
    for tick in ticks:
        text = f"{tick:.0%}" if percent else f"{tick:g}"
        parts.append(_rule(LEFT, height(tick), WIDTH - RIGHT, height(tick)))
        parts.append(_text(LEFT - 5, height(tick) + 4, text, "end"))
    for tick in (tick for tick in steps(right) if left <= tick <= right):
        parts.append(_text(place(tick), low + 14, f"{tick:g}", "middle"))
    for mark in marks:
        x = place(min(max(mark.at, left), right))
        parts.append(
            f'<line x1="{x:.1f}" y1="{high}" x2="{x:.1f}" y2="{low}" stroke="var(--c)" stroke-dasharray="2 3">'
            f"<title>{escape(mark.label)}</title></line>"
        )
    for line in lines:
        parts += _drawn(line, place, height)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle"))
    legend = " ".join(f'<span style="color:var(--{line.colour})">■</span> {escape(line.label)}' for line in lines)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_text(LEFT, 12, title, 'start', 'name')}{''.join(parts)}</svg><figcaption>{legend}</figcaption></figure>"
    )


def span_chart(title: str, unit: str, rows: Sequence[tuple[Band, Sequence[Mark]]]) -> str:
    """A row for each span, with what happened in it. Empty without rows."""
    if not rows:
        return ""
    right = max(band.end for band, _ in rows) or 1.0
    bottom = TOP + 34 * len(rows)

    def place(x: float) -> float:
        return 4 + (WIDTH - 12) * min(max(x / right, 0), 1)

    parts = []
    for tick in (tick for tick in steps(right) if tick <= right):
        parts.append(_rule(place(tick), TOP, place(tick), bottom))
        parts.append(_text(place(tick), bottom + 14, f"{tick:g}", "middle" if tick else "start"))
    for number, (band, marks) in enumerate(rows):
        y = TOP + 34 * number
        wide = max(place(band.end) - place(band.begin), 1)
        parts.append(_text(4, y + 12, band.label, "start", "name"))
        parts.append(
            f'<rect x="{place(band.begin):.1f}" y="{y + 17}" width="{wide:.1f}" height="12" rx="2" fill="var(--b)">'
            f"<title>{escape(band.label)}</title></rect>"
        )
        for mark in marks:
            x = place(mark.at)
            parts.append(
                f'<line x1="{x:.1f}" y1="{y + 14}" x2="{x:.1f}" y2="{y + 32}" stroke="var(--c)" stroke-width="2">'
                f"<title>{escape(mark.label)}</title></line>"
            )
    parts.append(_text(WIDTH / 2, bottom + 30, unit, "middle"))
    return (
        f'<figure class="span"><svg viewBox="0 0 {WIDTH} {bottom + 36}" role="img" aria-label="{escape(title)}">'
        f"{_text(4, 12, title, 'start')}{''.join(parts)}</svg></figure>"
    )


def steps(highest: float) -> list[float]:
    """Round numbers from 0 to at least `highest`, about six: 1, 2 or 5 times a power of ten apart."""
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [round(number * step, 12) for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _bands(bands: Sequence[Band], place: Place, left: float, right: float, y: float) -> Iterator[str]:
    for number, band in enumerate(bands):
        begin, end = (place(min(max(x, left), right)) for x in (band.begin, band.end))
        if number % 2 == 0:
            size = f'width="{max(end - begin, 0):.1f}" height="{HEIGHT - TOP - BOTTOM}"'
            yield f'<rect x="{begin:.1f}" y="{TOP}" {size} fill="var(--band)"/>'
        if end - begin > 12:
            yield _text((begin + end) / 2, y, band.label, "middle")


def _drawn(line: Line, place: Place, height: Place) -> Iterator[str]:
    every = math.ceil(len(line.points) / POINTS)
    kept = [*line.points[:-1:every], line.points[-1]]
    if len(kept) < 3:
        for x, y in kept:
            yield f'<circle cx="{place(x):.1f}" cy="{height(y):.1f}" r="3" fill="var(--{line.colour})"/>'
    points = " ".join(f"{place(x):.1f},{height(y):.1f}" for x, y in kept)
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    yield f'<polyline points="{points}" fill="none" stroke="var(--{line.colour})" stroke-width="1.8"{dash}/>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var(--edge)"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{_class(style)}>{escape(text)}</text>'
