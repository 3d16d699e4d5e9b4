"""One line of what happens. Enters: the time since the beginning, who, what. Leaves: columns; in a file a line."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text


def tell(console: Console, seconds: float, who: str, what: str, style: str = "cyan") -> None:
    """On a terminal what does not fit goes on below itself, not below the time; `style` is that of `who`."""
    minutes, rest = divmod(int(seconds), 60)
    parts = Text(f"{minutes:3d}:{rest:02d} ", "dim"), Text(f"{who:<19}", style), Text(what)
    if not console.is_terminal:
        return console.print(Text(" ").join(parts), soft_wrap=True)
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(no_wrap=True)
    line.add_column(no_wrap=True)
    line.add_column(overflow="fold")
    line.add_row(*parts)
    console.print(line)
