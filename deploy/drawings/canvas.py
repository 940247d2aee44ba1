"""A page with boxes, lines and words, as large as what is on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

Point = tuple[float, float]

INK = "#333333"
PALE = "#777777"
MARGIN = 0.2
ROUNDING = 0.05
CURVE = [Path.CURVE4] * 3
PIECES = {
    2: [Path.MOVETO, Path.LINETO],
    4: [Path.MOVETO, *CURVE],
    6: [Path.MOVETO, Path.LINETO, *CURVE, Path.LINETO],
}


class Canvas:
    """Places are in inches, x to the right and y upwards, from wherever one likes.

    The name of a box or a line is its id in an SVG. What stands on a higher ``level`` hides what
    is on a lower one.
    """

    def __init__(self) -> None:
        self._figure = Figure(facecolor="white")
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._corners: list[Point] = []

    def box(
        self, name: str, center: Point, size: Point, fill: str, edge: str = INK, *, level: int = 3
    ) -> None:
        """Draw a box with round corners."""
        (x, y), (width, height) = center, size
        left, bottom = x - width / 2, y - height / 2
        self._axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle=f"round,pad=0,rounding_size={ROUNDING}",
                facecolor=fill,
                edgecolor=edge,
                linewidth=0.8,
                zorder=level,
                gid=name,
            )
        )
        self._corners += [(left, bottom), (left + width, bottom + height)]

    def words(
        self,
        text: str,
        place: Point,
        *,
        size: float = 9,
        color: str = INK,
        align: Literal["left", "center", "right"] = "center",
        is_bold: bool = False,
    ) -> None:
        """Write one line, its middle at the height of the place."""
        self._axes.text(
            *place,
            text,
            size=size,
            color=color,
            horizontalalignment=align,
            verticalalignment="center_baseline",
            weight="bold" if is_bold else "normal",
            zorder=5,
        )
        x, y = place
        width, half = width_of(text, size), size / 72 * 0.7
        left = x - {"left": 0.0, "center": 0.5, "right": 1.0}[align] * width
        self._corners += [(left, y - half), (left + width, y + half)]

    def line(
        self,
        name: str,
        points: Sequence[Point],
        color: str = INK,
        *,
        width: float = 0.9,
        head: float = 1,
        is_dashed: bool = False,
        level: int = 2,
    ) -> None:
        """Draw a line with a head at its end, as large as ``head``; 0 for none.

        Two points give a straight one, four a curve, six a curve between two straight pieces.
        """
        (before_x, before_y), (x, y) = points[-2:]
        # matplotlib takes a head back by as much as its outline is thick.
        ahead = 0.9 * width / 72 / math.hypot(x - before_x, y - before_y) if head else 0
        end = (x + ahead * (x - before_x), y + ahead * (y - before_y))
        path = Path([*points[:-1], end], PIECES[len(points)])
        self._axes.add_patch(
            FancyArrowPatch(
                path=path,
                arrowstyle="-|>,head_length=4,head_width=1.7" if head else "-",
                mutation_scale=head or 1,
                color=color,
                linewidth=width,
                linestyle=(0, (4, 3)) if is_dashed else "solid",
                capstyle="butt",
                joinstyle="miter",
                zorder=level,
                gid=name,
            )
        )
        reach = path.get_extents()
        self._corners += [(reach.x0, reach.y0), (reach.x1, reach.y1)]

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of what was drawn so far."""
        xs, ys = zip(*self._corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def figure(self) -> Figure:
        """Give the page, cut to what is on it and a margin."""
        left, bottom, right, top = self.reach
        left, bottom, right, top = left - MARGIN, bottom - MARGIN, right + MARGIN, top + MARGIN
        self._axes.set_xlim(left, right)
        self._axes.set_ylim(bottom, top)
        self._figure.set_size_inches(right - left, top - bottom)
        return self._figure


def width_of(text: str, size: float) -> float:
    """Give how wide a line of that size is, in inches."""
    return float(TextPath((0, 0), text, size=size).get_extents().width) / 72
