"""`python -m cli.deaths_page FOLDER`: writes deaths.json and interleavings.json into docs/reliability.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cli.chaos_page import put
from cli.deaths import COLUMNS, Result, read_results, row
from cli.interleavings_report import FILE, Summary
from rehearsal.deaths import DEATHS

MARKER = "deaths"


def section(results: Mapping[str, Result], summary: Summary | None) -> str:
    """The table and the sentence, as Markdown."""
    shown = [results[death.name] for death in DEATHS if death.name in results]
    same = len({result.code for result in shown}) <= 1
    lines = [
        f"{len(shown)} of {len(DEATHS)} deaths played{'' if same else ', not all on the same code of the box'}; "
        f"over after each: {sum(result.over for result in shown)} of {len(shown)}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row(result)) + " |" for result in shown),
    ]
    return "\n".join([*lines, "", summary.sentence] if summary else lines)


def main() -> None:
    folder = Path(sys.argv[1])
    played = folder / FILE
    summary = Summary.model_validate_json(played.read_text()) if played.exists() else None
    put(MARKER, section(read_results(folder), summary))


if __name__ == "__main__":
    main()
