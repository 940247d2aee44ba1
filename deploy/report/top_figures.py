"""Figures of the best networks, trial by trial: Figure 6 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from child.metric import Metric
from deploy.report.chart import (
    IN_ORDER,
    MUTED,
    SERIES,
    Size,
    axis_of_trials,
    legend_above,
    line_of_trials,
)
from deploy.report.curves import Curve, thinned, top_means
from deploy.report.facts import Facts
from deploy.report.figure import ReportFigure, Table

TOPS = (1, 5, 15)
NUM_ROWS = 12


def tops_figure(facts: Facts, baseline: Facts | None) -> ReportFigure | None:
    """Draw the mean of the best 1, 5 and 15 unique networks; None where nothing is completed."""
    metric = facts.progress.metric
    means = {k: top_means(facts.recorded, k) for k in TOPS}
    others = {k: top_means(baseline.recorded, k) for k in TOPS} if baseline else {}
    if np.isnan(means[1]).all():
        return None
    last = max(len(facts.recorded), len(baseline.recorded) if baseline else 0)

    def draw(axes: Axes, size: Size) -> None:
        for number, k in enumerate(TOPS):
            line_of_trials(axes, means[k], SERIES[number], _top(k))
        for number, curve in enumerate(others.values()):
            label = baseline.brief if baseline and not number else "_"
            line_of_trials(axes, curve, SERIES[number], label, (0, (2, 1.6)))
        axes.set_ylabel(metric.name)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda figure, _: metric.text(figure)))
        axis_of_trials(axes, size, IN_ORDER, last)
        legend_above(axes, size)

    columns = {_top(k): means[k] for k in TOPS}
    if baseline:
        columns |= {f"{_top(k)}, {baseline.quoted}": others[k] for k in TOPS}
    reached = ", ".join(
        f"{metric.text(curve[-1])} for the {_top(k)}"
        for k, curve in means.items()
        if not np.isnan(curve[-1])
    )
    dashes = f" Dashed lines are those of {baseline.quoted}." if baseline else ""
    return ReportFigure.drawn(
        "tops",
        "The best networks over time",
        f"The mean {metric.name} on validation data of the best {_listed(TOPS)} different "
        f"networks among those trained so far. At the end it is {reached}.{dashes}",
        _table(columns, metric.text),
        draw,
    )


def lead_figure(facts: Facts, baseline: Facts) -> ReportFigure | None:
    """Draw by how much the best networks are better than those of another search.

    None where the two have no moment at which both have a completed network.

    Source: Zoph & Le 2017, Figure 6.
    """
    metric = facts.progress.metric
    leads = {k: lead(facts, baseline, k) for k in TOPS}
    if all(np.isnan(curve).all() for curve in leads.values()):
        return None

    def text(figure: float) -> str:
        return signed(figure, metric)

    def draw(axes: Axes, size: Size) -> None:
        axes.axhline(0, color=MUTED, linewidth=1)
        for number, (k, curve) in enumerate(leads.items()):
            line_of_trials(axes, curve, SERIES[number], _top(k))
        axes.set_ylabel(f"better by, in {metric.name}")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda figure, _: text(figure)))
        axis_of_trials(axes, size, "trials of each search", len(leads[1]))
        legend_above(axes, size)

    ends = ", ".join(
        f"{text(curve[-1])} for the {_top(k)}"
        for k, curve in leads.items()
        if not np.isnan(curve[-1])
    )
    return ReportFigure.drawn(
        "lead",
        f"Lead over {baseline.quoted}",
        f"By how much the mean {metric.name} of the best different networks of {facts.quoted} is "
        f"better than that of {baseline.quoted} after as many trials; below 0 it is worse. At the "
        f"end: {ends or 'not known'}. Zoph and Le (2017) draw the same in their Figure 6.",
        _table({_top(k): curve for k, curve in leads.items()}, text),
        draw,
    )


def lead(facts: Facts, baseline: Facts, k: int) -> Curve:
    """Give by how much the mean of the best k is better than the other's, after as many trials."""
    one, other = top_means(facts.recorded, k), top_means(baseline.recorded, k)
    both = min(len(one), len(other))
    with np.errstate(invalid="ignore"):  # a perplexity may be infinite in both
        better = one[:both] - other[:both]
    return better if facts.progress.metric.is_higher_better else -better


def signed(lead: float, metric: Metric) -> str:
    """Give a lead as people read it.

    >>> signed(-0.0125, Metric("accuracy", ".1%", is_higher_better=True))
    '−1.2%'
    """
    sign = "\N{MINUS SIGN}" if lead < 0 else "+"
    return sign + metric.text(abs(lead))


def _table(columns: dict[str, Curve], text: Callable[[float], str]) -> Table:
    number = max(map(len, columns.values()))
    rows = []
    for row in thinned(number, NUM_ROWS):
        found = [curve[row] if row < len(curve) else np.nan for curve in columns.values()]
        rows.append([f"{row + 1:,}", *("" if np.isnan(one) else text(float(one)) for one in found)])
    return Table(["after trials", *columns], rows)


def _top(k: int) -> str:
    return "best" if k == 1 else f"best {k}"


def _listed(numbers: Sequence[int]) -> str:
    *firsts, last = map(str, numbers)
    return f"{', '.join(firsts)} and {last}"
