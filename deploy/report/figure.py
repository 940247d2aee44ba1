"""A figure of a report: drawings, what is to be seen in them, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploy.report.chart import NARROW, WIDE, Draw, Size, chart


@dataclass(frozen=True)
class Table:
    """Numbers as text; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ReportFigure:
    """One figure.

    name: its id in the page. caption: what is to be seen, in words. wide: for large screens;
    narrow: for phones, None where the wide one will do.
    """

    name: str
    title: str
    caption: str
    table: Table
    wide: Markup
    narrow: Markup | None = None

    @classmethod
    def drawn(
        cls, name: str, title: str, caption: str, table: Table, draw: Draw, size: Size = WIDE
    ) -> ReportFigure:
        """Draw it; one across the whole page once more for phones."""
        wide = chart(name, f"{title}. {caption}", size, draw)
        narrow = (
            chart(f"{name}-narrow", f"{title}. {caption}", NARROW, draw) if size == WIDE else None
        )
        return cls(name, title, caption, table, wide, narrow)
