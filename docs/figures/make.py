"""The figures of docs/how-it-works.md and the README, from finished searches; run by hand.

python docs/figures/make.py --learned RUN [RUN ...] --random RUN [RUN ...] --network RUN --cell RUN

The n-th run of --learned and the n-th of --random are the same search with and without learning.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from deploy.drawings.canvas import INK, Canvas, Point
from deploy.drawings.drawing import Drawing
from deploy.report.curves import Curve, moving_mean
from deploy.report.facts import Facts
from deploy.report.top_figures import TOPS, lead
from deploy.results import Results
from deploy.run import Run

HERE = Path(__file__).parent

BLUE, ORANGE, GREEN, GRAY = "#0072b2", "#d55e00", "#008a64", "#777777"
PALE = {BLUE: "#e3eef8", ORANGE: "#fbeadd", GREEN: "#e4f3ec", GRAY: "#f2f2f2"}
SMOOTHING = 10  # trials of a moving mean
LEADS = (-0.1, 0.15)  # of accuracy; after the first few trials all are within

# Of any keys: those that matplotlib knows are a type in its newer versions alone.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nasrl",
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 10.0,
    "grid.color": "#dcdfe2",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def write(path: Path, figure: Callable[[], Figure]) -> None:
    """Draw a figure to a file, on white; what was there is written over."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure().savefig(path, facecolor="white", metadata={"Date": None, "Creator": None})


def layout() -> Figure:
    """Draw S shards, K replicas and m children of each, and what goes between them.

    Source: Zoph & Le 2017, Figure 3.
    """
    canvas = Canvas()
    shard_y, replica_y, child_y, child_x = 3.1, 1.7, 0.3, 0.8
    shards = {"shard 1": 0.8, "shard 2": 3.0, "shard S": 5.7}
    replicas = {"replica 1": 0.0, "replica 2": 2.75, "replica K": 6.1}
    canvas.words("the parameter server: each shard holds a slice of θ", (3.05, 3.52), size=10)
    for name, x in shards.items():
        _box(canvas, name, (x, shard_y), (1.4, 0.46), BLUE)
    for name, x in replicas.items():
        _box(canvas, name, (x, replica_y), (1.4, 0.46), ORANGE)
        for shard, shard_x in shards.items():
            ends = (shard_x, shard_y - 0.23), (x, replica_y + 0.23)
            _both_ways(canvas, f"{shard}, {name}", ends, BLUE)
        for child, side in (("child 1", -child_x), ("child m", child_x)):
            _box(canvas, child, (x + side, child_y), (0.8, 0.42), GREEN, f"{name}, {child}")
            ends = (x + side / 2, replica_y - 0.23), (x + side, child_y + 0.21)
            _both_ways(canvas, f"{name} to {child}", ends, GREEN)
        canvas.words("…", (x, child_y), size=14)
    for x, y in ((4.35, shard_y), (4.42, replica_y), (4.42, child_y)):
        canvas.words("…", (x, y), size=16)
    _lines(canvas, ("up: gradients, pushed", "down: weights, pulled"), (7.25, 2.6), BLUE)
    _lines(canvas, ("up: reward R", "down: architecture"), (4.42, 1.1), GREEN)
    _box(canvas, "ledger", (8.35, 1.25), (1.2, 0.46), GRAY)
    canvas.line("replicas, ledger", ((6.82, replica_y), (7.73, 1.35)), GRAY)
    _lines(canvas, ("every trial and push,", "before it counts"), (8.35, 0.84), GRAY)
    return canvas.figure()


def _box(canvas: Canvas, text: str, center: Point, size: Point, color: str, name: str = "") -> None:
    canvas.box(name or text, center, size, PALE[color], color)
    canvas.words(text, center, size=10)


def _both_ways(canvas: Canvas, name: str, ends: tuple[Point, Point], color: str) -> None:
    canvas.line(f"{name}, down", ends, color, width=0.7, level=1)
    canvas.line(f"{name}, up", ends[::-1], color, width=0.7, level=1)


def _lines(canvas: Canvas, texts: Sequence[str], first: Point, color: str) -> None:
    x, y = first
    for row, text in enumerate(texts):
        canvas.words(text, (x, y - 0.21 * row), size=9.5, color=color)


def layer() -> Figure:
    """Draw the decisions that make one layer, and what each is read from.

    Source: Zoph & Le 2017, Figures 2 and 4.
    """
    canvas = Canvas()
    steps = [
        ("filter height", "3", "1  3  5  7"),
        ("filter width", "5", "1  3  5  7"),
        ("stride height", "1", "1  2  3"),
        ("stride width", "2", "1  2  3"),
        ("anchor point", "1, 3", "layer 1? 2? 3?"),
        ("filters", "36", "24 36 48 64"),
    ]
    apart, size = 1.45, (1.2, 0.5)
    for number, (kind, choice, options) in enumerate(steps):
        x, is_anchor = number * apart, kind == "anchor point"
        color = GREEN if is_anchor else BLUE
        canvas.box(f"lstm {number}", (x, 0), size, PALE[ORANGE], ORANGE)
        _lines(canvas, ("2 LSTM", "layers"), (x, 0.1), INK)
        canvas.box(f"choice {number}", (x, 1.05), size, PALE[color], color)
        canvas.words("sigmoids" if is_anchor else "softmax", (x, 1.16), size=9.5)
        canvas.words(options, (x, 0.94), size=8.5, color=GRAY)
        canvas.words(kind, (x, 2.1), size=10, is_bold=True)
        canvas.words(choice, (x, 1.72), size=13, color=color)
        canvas.line(f"hidden {number}", ((x, 0.25), (x, 0.8)))
        canvas.line(f"drawn {number}", ((x, 1.3), (x, 1.58)))
        canvas.line(f"state {number}", ((x - apart + 0.6, 0), (x - 0.6, 0)), ORANGE)
        if number:
            _embedded(canvas, number, x - apart, x)
    last = (len(steps) - 1) * apart
    canvas.line("state after", ((last + 0.6, 0), (last + apart - 0.4, 0)), ORANGE)
    _lines(canvas, ("layer", "before"), (-apart + 0.25, 0.1), GRAY)
    _lines(canvas, ("next", "layer"), (last + apart - 0.15, 0.1), GRAY)
    text = "dashed: what was drawn is embedded, and read at the next step"
    canvas.words(text, (last / 2, -0.85), size=9.5, color=GRAY)
    return canvas.figure()


def _embedded(canvas: Canvas, number: int, before: float, x: float) -> None:
    """Draw how a choice becomes the input of the next step, at x."""
    middle = (before + x) / 2
    down = ((before + 0.27, 1.72), (middle - 0.1, 1.72), (middle, 1.72), (middle, 1.4))
    canvas.line(f"choice {number}", down, GRAY, head=0, is_dashed=True, level=1)
    up = (
        (middle, 1.4), (middle, -0.3), (middle, -0.65), (x, -0.65), (x, -0.45), (x, -0.25),
    )  # fmt: skip
    canvas.line(f"embedded {number}", up, GRAY, is_dashed=True, level=1)


def rewards(learned: Sequence[Facts], random: Sequence[Facts]) -> Figure:
    """Draw how the rewards of the policy and of uniform choices move, search by search."""
    figure = Figure(figsize=(7.6, 3.1), layout="constrained")
    axes = figure.add_subplot()
    for searches, color, name in ((learned, BLUE, "the policy"), (random, ORANGE, "random")):
        curves = [moving_mean(facts.rewards, SMOOTHING) for facts in searches]
        _several(axes, curves, color, name)
    axes.set_ylabel(f"reward, mean of {SMOOTHING} trials")
    axes.set_xlabel("trials, in the order of their results")
    axes.set_ylim(0, 1)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=2, fontsize=9)
    return figure


def leads(learned: Sequence[Facts], random: Sequence[Facts]) -> Figure:
    """Draw by how much the best networks of the policy are ahead of those of random search.

    Source: Zoph & Le 2017, Figure 6.
    """
    figure = Figure(figsize=(7.6, 2.6), layout="constrained")
    panels = figure.subplots(1, len(TOPS), sharey=True)
    for axes, k in zip(panels, TOPS, strict=True):
        pairs = zip(learned, random, strict=True)
        _several(axes, [lead(one, other, k) for one, other in pairs], BLUE, "")
        axes.axhline(0, color=GRAY, linewidth=1)
        axes.set_title("the best" if k == 1 else f"mean of the best {k}", loc="left")
        axes.set_xlabel("trials of each search")
    panels[0].set_ylabel("lead in accuracy")
    panels[0].set_ylim(*LEADS)
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def _several(axes: Axes, curves: Sequence[Curve], color: str, label: str) -> None:
    length = min(map(len, curves))
    for curve in curves:
        axes.plot(np.arange(1, len(curve) + 1), curve, color=color, linewidth=0.8, alpha=0.45)
    mean = np.mean([curve[:length] for curve in curves], axis=0)
    axes.plot(np.arange(1, length + 1), mean, color=color, linewidth=2.2, label=label)
    axes.set_xlim(1, length)


def main() -> None:
    """Draw them all, into the folder of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("learned", "random"):
        parser.add_argument(f"--{name}", metavar="RUN", nargs="+", required=True)
    for name in ("network", "cell"):
        parser.add_argument(f"--{name}", metavar="RUN", required=True)
    given = parser.parse_args()
    learned = [Facts.read(Run(run)) for run in given.learned]
    random = [Facts.read(Run(run)) for run in given.random]
    write(HERE / "layout.svg", layout)
    write(HERE / "layer.svg", layer)
    write(HERE / "rewards.svg", lambda: rewards(learned, random))
    write(HERE / "lead.svg", lambda: leads(learned, random))
    for name, run in (("network", given.network), ("cell", given.cell)):
        drawing: Drawing = Results(run).drawing("best")
        (HERE / f"{name}.svg").write_bytes(drawing.svg())


if __name__ == "__main__":
    main()
