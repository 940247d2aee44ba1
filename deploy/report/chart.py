"""Charts that take their colours and letters from the page they stand in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from deploy.report.curves import thinned
from deploy.report.inline_svg import inline_svg

# Colours that stand for variables of page.css, which differ between light and dark.
INK, MUTED, RULE, SURFACE = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0200{number:02x}" for number in range(7))
RAMP = tuple(f"#0300{number:02x}" for number in range(7))
COLORS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    SURFACE: "var(--surface)",
    **{color: f"var(--series-{number})" for number, color in enumerate(SERIES)},
    **{color: f"var(--ramp-{number})" for number, color in enumerate(RAMP)},
}

# In inches; 96 pixels each where the page has room for it.
Size = tuple[float, float]
WIDE: Size = (10.2, 3.7)
NARROW: Size = (3.65, 3.2)
HALF: Size = (4.2, 2.6)
THIRD: Size = (3.4, 2.3)

FONT_SIZE = 9.0  # points
MAX_ON_LINE = 400  # points of a line
IN_ORDER = "trials, in the order of their results"

Draw = Callable[[Axes, Size], None]
# Of any keys: those that matplotlib knows are a type in its newer versions alone.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Names of runs are no formulas.
    "text.parse_math": False,
    "font.size": FONT_SIZE,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": FONT_SIZE,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.4,
}


def chart(name: str, label: str, size: Size, draw: Draw) -> Markup:
    """Draw one chart as SVG for a page; the same gives the same bytes.

    Args:
        name: what no other SVG of the page is called.
        label: what is read out in its place.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The browser has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, "svg.hashsalt": name})
        figure, saved = Figure(figsize=size, layout="constrained"), BytesIO()
        axes = figure.add_subplot()
        draw(axes, size)
        figure.savefig(
            saved, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return inline_svg(saved.getvalue(), name, label, COLORS)


def axis_of_trials(axes: Axes, size: Size, words: str, last: int) -> None:
    """Make the horizontal axis count trials, from 1 to the last."""
    axes.set_xlabel(words)
    axes.set_xlim(1 if last > 1 else 0, max(last, 2))
    axes.xaxis.set_major_locator(MaxNLocator(5 if size[0] > THIRD[0] else 3, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def line_of_trials(
    axes: Axes,
    curve: NDArray[np.float64],
    color: str,
    label: str,
    style: str | tuple[float, object] = "-",
) -> None:
    """Draw a line through what there is after each trial, the first being number 1."""
    drawn = thinned(len(curve), MAX_ON_LINE)
    # A line of one point is not seen.
    marker = "o" if np.isfinite(curve).sum() == 1 else ""
    axes.plot(
        drawn + 1, curve[drawn], color=color, label=label, linestyle=style, marker=marker,
        markersize=5,
    )  # fmt: skip


def legend_above(axes: Axes, size: Size) -> None:
    """Name the lines above the chart, in as many columns as there is room for."""
    if labels := axes.get_legend_handles_labels()[1]:
        widest = (0.62 * FONT_SIZE * max(map(len, labels)) + 30) / 72
        columns = max(1, int((size[0] - 0.5) / widest))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=columns)


def labels_beside(
    axes: Axes, at: Sequence[float], texts: Sequence[str], colors: Sequence[str]
) -> None:
    """Write a text for each height to the right of the chart, in order, none over another.

    Heights are fractions of the chart's; before each text is a square of its colour.
    """
    apart = 1.35 * FONT_SIZE / 72 / (0.72 * THIRD[1])
    order = sorted(range(len(at)), key=lambda number: at[number])
    for number, height in zip(order, spread([at[n] for n in order], apart), strict=True):
        for text, right, color in (
            ("\N{BLACK SQUARE}", 5, colors[number]),
            (texts[number], 15, INK),
        ):
            axes.annotate(
                text, (1, height), (right, 0), xycoords="axes fraction", color=color,
                textcoords="offset points", va="center", ha="left", annotation_clip=False,
            )  # fmt: skip


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """Move heights, the lowest first, so that they are apart, and within 0 and 1 if they can be.

    >>> spread([0.0, 0.25, 1.0], apart=0.5)
    [0.0, 0.5, 1.0]
    """
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + apart) if placed else height)
    ceiling = 1.0
    for number in reversed(range(len(placed))):
        placed[number] = min(placed[number], ceiling)
        ceiling = placed[number] - apart
    return placed
