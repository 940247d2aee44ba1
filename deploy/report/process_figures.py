"""Figures of how the search ran: staleness of its pushes, and how long its children trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from deploy.count import counted
from deploy.report.chart import HALF, INK, SERIES, Size, axis_of_trials, legend_above
from deploy.report.curves import parts, percentiles
from deploy.report.facts import Facts
from deploy.report.figure import ReportFigure, Table
from deploy.status import duration

MAX_BARS = 30
NUM_BANDS = 40
MIN_BAND = 5
NUM_ROWS = 12


def process_figures(facts: Facts) -> list[ReportFigure]:
    """Give the figures of staleness and of times, of which there is something to draw."""
    closed = [push for push in facts.pushes if push.staleness]
    figures = []
    if closed:
        gradients = [list(push.staleness or ()) for push in closed]
        samples = [list(push.sample_staleness or ()) for push in closed]
        figures.append(_staleness(gradients, samples))
        if len(closed) >= 2 * MIN_BAND:
            figures.append(_staleness_over_pushes(gradients))
    if facts.seconds:
        figures.append(_times(facts.seconds))
        if len(facts.seconds) >= 2 * MIN_BAND:
            figures.append(_times_over_trials(facts))
    return figures


def _staleness(gradients: Sequence[list[int]], samples: Sequence[list[int]]) -> ReportFigure:
    stale = list(chain.from_iterable(gradients))
    since_sampled = list(chain.from_iterable(samples))
    per_bar = -(-(max(stale) + 1) // MAX_BARS)
    edges = np.arange(0, max(stale) + per_bar + 1, per_bar)
    counts, _ = np.histogram(stale, edges)

    def draw(axes: Axes, _: Size) -> None:
        axes.bar(edges[:-1] + (per_bar - 1) / 2, counts, 0.86 * per_bar, color=SERIES[0])
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set_xlim(-0.7 * per_bar, edges[-1] - 0.3 * per_bar)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlabel("pushes of others since the pull")
        axes.set_ylabel("pushes, on each shard")

    caption = (
        "How many pushes of others a shard had taken between a replica's pull and its push: "
        f"{np.mean(stale):.2f} on average, {max(stale)} at most."
    )
    if since_sampled and since_sampled != stale:
        caption += (
            f" Since its oldest architecture was sampled: {np.mean(since_sampled):.2f} on average, "
            f"{max(since_sampled)} at most."
        )
    rows = [
        [_span(int(low), int(low) + per_bar - 1), f"{count:,}", f"{count / len(stale):.1%}"]
        for low, count in zip(edges, counts, strict=False)
    ]
    table = Table(["staleness", "pushes", "share"], rows)
    return ReportFigure.drawn("staleness", "Staleness", caption, table, draw, HALF)


def _staleness_over_pushes(gradients: Sequence[list[int]]) -> ReportFigure:
    cut = _bands(len(gradients))
    together = [list(chain.from_iterable(gradients[part])) for part in cut]
    means, highest = [float(np.mean(one)) for one in together], [max(one) for one in together]
    ends = [1, *(part.stop for part in cut)]

    def draw(axes: Axes, size: Size) -> None:
        axes.step(
            ends, _held(highest), color=SERIES[1], linewidth=1.2, where="pre", label="highest"
        )
        axes.plot(ends, _held(means), color=SERIES[0], label="mean")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylabel("staleness, pushes")
        axis_of_trials(axes, size, "pushes", len(gradients))
        legend_above(axes, size)

    rows = [
        [_span(part.start + 1, part.stop), f"{np.mean(list(chain(*gradients[part]))):.2f}",
         f"{max(chain(*gradients[part]))}"]
        for part in parts(len(gradients), NUM_ROWS)
    ]  # fmt: skip
    caption = (
        f"The same from push to push, in {len(cut)} equal parts of the search. It grows with the "
        "number of replicas, and falls when some are waiting."
    )
    table = Table(["pushes", "mean", "highest"], rows)
    return ReportFigure.drawn(
        "staleness-moves", "Staleness over the search", caption, table, draw, HALF
    )


def _times(seconds: Sequence[float]) -> ReportFigure:
    ranks = (0, 10, 50, 90, 100)
    at = percentiles(seconds, ranks)

    def draw(axes: Axes, _: Size) -> None:
        bins = min(MAX_BARS, max(5, round(len(seconds) ** 0.5)))
        axes.hist(seconds, bins, color=SERIES[0], rwidth=0.9)
        axes.axvline(at[2], color=INK, linewidth=1.2, linestyle="--")
        axes.annotate(
            "median", (at[2], 1), (0, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="bottom", ha="center",
        )  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlabel("seconds in training")
        axes.set_ylabel("children")

    names = ("shortest", "10% are below", "median", "90% are below", "longest")
    rows = [[name, f"{figure:,.1f}"] for name, figure in zip(names, at, strict=True)]
    caption = (
        f"How long {counted(len(seconds), 'child', 'children')} trained: {at[2]:,.1f} s in the "
        f"median, {at[4]:,.1f} s at most, {duration(sum(seconds))} together."
    )
    table = Table(["", "seconds"], rows)
    return ReportFigure.drawn("times", "Training times", caption, table, draw, HALF)


def _times_over_trials(facts: Facts) -> ReportFigure:
    seconds = facts.seconds
    cut = _bands(len(seconds))
    low, middle, high = zip(
        *(percentiles(seconds[part], (10, 50, 90)) for part in cut), strict=True
    )
    ends = [1, *(part.stop for part in cut)]

    def draw(axes: Axes, size: Size) -> None:
        axes.fill_between(
            ends, _held(low), _held(high), color=SERIES[0], alpha=0.2, linewidth=0,
            label="8 of 10 children",
        )  # fmt: skip
        axes.plot(ends, _held(middle), color=SERIES[0], label="median")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("seconds in training")
        axis_of_trials(axes, size, "children, in the order of their results", len(seconds))
        legend_above(axes, size)

    rows = [
        [
            _span(part.start + 1, part.stop),
            *(f"{figure:,.1f}" for figure in percentiles(seconds[part], (10, 50, 90))),
        ]
        for part in parts(len(seconds), NUM_ROWS)
    ]
    caption = "They grow where the policy comes to prefer larger networks, or machines are shared."
    table = Table(["children", "10% are below", "median", "90% are below"], rows)
    return ReportFigure.drawn(
        "times-move", "Training times over the search", caption, table, draw, HALF
    )


def _bands(number: int) -> list[slice]:
    return parts(number, min(NUM_BANDS, max(number // MIN_BAND, 1)))


def _held(figures: Sequence[float]) -> list[float]:
    """Give figures of parts as a line from the first thing on: that of the first part twice."""
    return [*figures[:1], *figures]


def _span(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"
