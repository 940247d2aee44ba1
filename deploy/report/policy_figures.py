"""Figures of what the policy learned: how sure it is, and what it came to prefer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from deploy.report.chart import (
    MAX_ON_LINE,
    MUTED,
    RAMP,
    SERIES,
    SURFACE,
    THIRD,
    Size,
    axis_of_trials,
    labels_beside,
    legend_above,
)
from deploy.report.choices import (
    Shares,
    entropies,
    shares_of_choices,
    shares_of_skips,
    uniform_entropies,
)
from deploy.report.curves import moving_mean, parts, smoothing, thinned
from deploy.report.facts import Facts
from deploy.report.figure import ReportFigure, Table

AS_SAMPLED = "trials, as they were sampled"
NUM_ROWS = 12
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def entropy_figure(facts: Facts) -> ReportFigure:
    """Draw the entropy of the policy, estimated from the decisions that it took."""
    found = entropies(facts.sampled)
    uniform = uniform_entropies(facts.sampled, facts.space)
    width = smoothing(len(found))
    mean, of_uniform = moving_mean(found, width), moving_mean(uniform, width)
    numbers = np.array([trial.trial for trial in facts.sampled])

    def draw(axes: Axes, size: Size) -> None:
        drawn = thinned(len(found), MAX_ON_LINE)
        axes.plot(
            numbers[drawn], of_uniform[drawn], color=MUTED, linestyle="--", linewidth=1.2,
            label="uniform choices",
        )  # fmt: skip
        axes.plot(
            numbers[drawn], mean[drawn], color=SERIES[0], label=f"policy, mean of {width}",
            marker="o" if len(found) == 1 else "",
        )  # fmt: skip
        axes.set_ylim(0, 1.08 * max(of_uniform.max(), mean.max()) or 1)
        axes.set_ylabel("entropy, nats")
        axis_of_trials(axes, size, AS_SAMPLED, int(numbers[-1]))
        legend_above(axes, size)

    rows = [
        [
            f"{numbers[part][0]:,} to {numbers[part][-1]:,}",
            f"{found[part].mean():.2f}",
            f"{uniform[part].mean():.2f}",
        ]
        for part in parts(len(found), NUM_ROWS)
    ]
    return ReportFigure.drawn(
        "entropy",
        "Entropy of the policy",
        "How undecided the policy is over a whole list of decisions. It is estimated: the negative "
        "log-probability that the policy gave to what it sampled has the entropy as its "
        f"expectation, and is averaged over {width} trials. At the end it is {mean[-1]:.1f} nats, "
        f"as of {_power(mean[-1])} equally likely networks; uniform choices would have "
        f"{of_uniform[-1]:.1f}, as of {_power(of_uniform[-1])}.",
        Table(["trials", "policy", "uniform choices"], rows),
        draw,
    )


def choices_figures(facts: Facts) -> list[ReportFigure]:
    """Draw for every kind of decision how often each option was taken, and skip connections."""
    figures = [_areas(shares) for shares in shares_of_choices(facts.sampled, facts.space)]
    skips = shares_of_skips(facts.sampled, facts.space)
    return [*figures, _lines(skips)] if skips else figures


def _areas(shares: Shares) -> ReportFigure:
    colors = _colors(shares)

    def draw(axes: Axes, size: Size) -> None:
        ends, layers = _stretched(shares)
        axes.stackplot(ends, layers.T, colors=colors, edgecolor=SURFACE, linewidth=0.8)
        tops = np.cumsum(layers[-1])
        labels_beside(axes, list(tops - layers[-1] / 2), shares.options, colors)
        axes.set_ylim(0, 1)
        axes.set_axisbelow(False)
        axes.grid(visible=False)
        _finish(axes, size, shares)

    title = shares.kind.replace("num_", "number of ").replace("_", " ").capitalize()
    return ReportFigure.drawn(
        f"choice-{shares.kind.replace('_', '-')}",
        title,
        _moved(shares),
        _table(shares),
        draw,
        THIRD,
    )


def _lines(shares: Shares) -> ReportFigure:
    colors = SERIES[: len(shares.options)]

    def draw(axes: Axes, size: Size) -> None:
        ends, lines = _stretched(shares)
        for line, color in zip(lines.T, colors, strict=True):
            axes.plot(ends, line, color=color)
        last = [line[np.isfinite(line)][-1] for line in lines.T]
        labels_beside(axes, last, shares.options, colors)
        axes.set_ylim(0, 1)
        _finish(axes, size, shares)

    return ReportFigure.drawn(
        "choice-skips",
        "Skip connections",
        "The part of the possible connections that was made, by how many layers back they reach: "
        f"1 is the layer before. {_moved(shares)}",
        _table(shares),
        draw,
        THIRD,
    )


def _finish(axes: Axes, size: Size, shares: Shares) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_yticks([0, 0.5, 1])
    axis_of_trials(axes, size, AS_SAMPLED, shares.ends[-1])


def _stretched(shares: Shares) -> tuple[list[int], np.ndarray]:
    """Give the shares from the first trial on: those of the first window also before its end."""
    return [min(1, shares.ends[0] - 1), *shares.ends], np.vstack([shares.shares[:1], shares.shares])


def _colors(shares: Shares) -> Sequence[str]:
    number = len(shares.options)
    if not shares.is_ordered:
        return SERIES[:number]
    return [RAMP[round(place)] for place in np.linspace(0, len(RAMP) - 1, number)]


def _moved(shares: Shares) -> str:
    """Say how often each option was taken in the first quarter of the trials and in the last."""
    if len(shares.ends) == 1:
        each = zip(shares.options, shares.shares[0], strict=True)
        return f"Of all so far: {', '.join(f'{option} ({share:.0%})' for option, share in each)}."
    quarter = max(len(shares.ends) // 4, 1)
    # Where a distance is not possible yet, or nothing was met, there is nothing to average.
    first, last = (
        [float(np.mean(met)) if len(met := s[np.isfinite(s)]) else math.nan for s in columns.T]
        for columns in (shares.shares[:quarter], shares.shares[-quarter:])
    )
    moves = [
        f"{option} ({'none' if math.isnan(a) else f'{a:.0%}'} → {b:.0%})"
        for option, a, b in zip(shares.options, first, last, strict=True)
    ]
    return f"From the first quarter of the trials to the last: {', '.join(moves)}."


def _table(shares: Shares) -> Table:
    rows = [
        [f"{shares.ends[row]:,}", *("" if np.isnan(s) else f"{s:.0%}" for s in shares.shares[row])]
        for row in thinned(len(shares.ends), NUM_ROWS)
    ]
    return Table(["up to trial", *shares.options], rows)


def _power(nats: float) -> str:
    """Say what e to that power is.

    >>> _power(2.0), _power(20.0), _power(23.0)
    ('7', '5 × 10⁸', '1 × 10¹⁰')
    """
    if nats < math.log(1000):
        return f"{math.exp(nats):.0f}"
    fraction, exponent = math.modf(nats / math.log(10))
    digit, carried = round(10**fraction), 0
    if digit == 10:
        digit, carried = 1, 1
    return f"{digit} × 10{f'{exponent + carried:.0f}'.translate(_RAISED)}"
