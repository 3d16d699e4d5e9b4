"""`python -m cli.chaos_page results/chaos.json`: writes a campaign's table into docs/reliability.md."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.chaos_report import COLUMNS, Found, row

PAGE = Path(__file__).resolve().parents[1] / "docs/reliability.md"
MARKER = "chaos"


def put(marker: str, text: str) -> None:
    """Replace what stands between `<!-- marker -->` and `<!-- /marker -->` on the page."""
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    page = PAGE.read_text()
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def section(found: Found) -> str:
    """The campaign as Markdown."""
    results = found.results
    lines = [
        f"Data: {found.data}. Seed {found.seed}. {found.steps} steps a run, "
        f"at best {found.steps_per_second} steps/s undisturbed; a checkpoint every "
        f"{found.checkpoint_seconds} s. {sum(result.interruptions for result in results)} interruptions of "
        f"{len(results)} kinds; promises kept: {sum(result.kept_promise for result in results)} of {len(results)}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
        *("| " + " | ".join(row(result)) + " |" for result in results),
    ]
    return "\n".join(lines)


def main() -> None:
    put(MARKER, section(Found.model_validate_json(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    main()
