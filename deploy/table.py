"""A table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

# Where nobody looks on, no line is wrapped: a table is as wide as what it holds.
PIPED_WIDTH = 10_000


def table(
    columns: Mapping[str, JustifyMethod], rows: Iterable[Sequence[str]], *, num_wrapped: int = 1
) -> Table:
    """Give rows of text under their headings; only the last columns are wrapped."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for number, (heading, justify) in enumerate(columns.items(), start=1):
        is_wrapped = number > len(columns) - num_wrapped
        made.add_column(heading, justify=justify, no_wrap=not is_wrapped, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def print_table(
    columns: Mapping[str, JustifyMethod], rows: Iterable[Sequence[str]], *, num_wrapped: int = 1
) -> None:
    """Print a `table`."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)
    console.print(table(columns, rows, num_wrapped=num_wrapped), highlight=False)
