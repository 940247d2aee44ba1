"""The figure of the rewards, trial by trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from deploy.report.chart import (
    IN_ORDER,
    INK,
    SERIES,
    Size,
    axis_of_trials,
    legend_above,
    line_of_trials,
)
from deploy.report.curves import Curve, moving_mean, parts, percentiles, smoothing
from deploy.report.facts import Facts
from deploy.report.figure import ReportFigure, Table

MAX_POINTS = 1000  # that are drawn one by one
NUM_BANDS = 80
NUM_ROWS = 12


def rewards_figure(facts: Facts, baseline: Facts | None) -> ReportFigure:
    """Draw every reward, how they move, and the best so far."""
    rewards, other = facts.rewards, baseline.rewards if baseline else []
    width, last = smoothing(len(rewards)), max(len(rewards), len(other))
    best = np.maximum.accumulate(rewards)

    def draw(axes: Axes, size: Size) -> None:
        if len(rewards) <= MAX_POINTS:
            _draw_points(axes, facts)
        else:
            _draw_band(axes, rewards)
        line_of_trials(axes, moving_mean(rewards, width), SERIES[0], f"mean of {width}")
        if other and baseline:
            label = f"mean of {smoothing(len(other))}, {baseline.brief}"
            line_of_trials(axes, moving_mean(other, smoothing(len(other))), SERIES[1], label, "--")
        axes.step(*_steps(best), where="post", color=INK, linewidth=1.2, label="best so far")
        if not any((*rewards, *other)):
            axes.set_ylim(-0.02, 1)
        axes.set_ylabel("reward")
        axis_of_trials(axes, size, IN_ORDER, last)
        legend_above(axes, size)

    return ReportFigure.drawn(
        "rewards",
        "Rewards",
        _reward_caption(facts, baseline, width),
        _reward_table(facts, baseline),
        draw,
    )


def _draw_points(axes: Axes, facts: Facts) -> None:
    opacity = 0.75 if len(facts.recorded) <= 200 else 0.45
    for state, marker, edge, color, label in (
        ("completed", "o", 0.0, SERIES[0], "one trial"),
        ("infeasible", "x", 1.2, SERIES[1], "infeasible"),
    ):
        places = [n for n, trial in enumerate(facts.recorded, 1) if trial.state == state]
        if places:
            axes.plot(
                places, [facts.rewards[n - 1] for n in places], marker, color=color, alpha=opacity,
                markersize=4, markeredgewidth=edge, label=label, clip_on=False,
            )  # fmt: skip


def _draw_band(axes: Axes, rewards: Sequence[float]) -> None:
    cut = parts(len(rewards), NUM_BANDS)
    low, high = zip(*(percentiles(rewards[part], (10, 90)) for part in cut), strict=True)
    middles = [(part.start + part.stop) / 2 for part in cut]
    axes.fill_between(
        middles, low, high, color=SERIES[0], alpha=0.2, linewidth=0, label="8 of 10 trials"
    )


def _steps(best: Curve) -> tuple[list[int], list[float]]:
    """Give the places, from 1, and heights at which a line goes up, and its end."""
    places = [n for n in range(len(best)) if not n or best[n] > best[n - 1]]
    places += [len(best) - 1] * (len(best) - 1 not in places)
    return [n + 1 for n in places], [float(best[n]) for n in places]


def _reward_caption(facts: Facts, baseline: Facts | None, width: int) -> str:
    count = len(facts.rewards)
    quarter = max(count // 4, 1)
    first, last = np.mean(facts.rewards[:quarter]), np.mean(facts.rewards[-quarter:])
    said = [
        f"The reward of every trial, with the mean of the last {width}.",
        f"The mean is {first:.3f} over the first quarter of them and {last:.3f} over the last.",
    ]
    if (best := facts.progress.best) is not None and best.reward is not None:
        said.append(f"The highest is {best.reward:.3f}, of trial {best.trial}.")
    if baseline is not None and baseline.rewards:
        mean = np.mean(baseline.rewards[-max(len(baseline.rewards) // 4, 1) :])
        said.append(f"The dashed line is {baseline.quoted}: {mean:.3f} over its last quarter.")
    return " ".join(said)


def _reward_table(facts: Facts, baseline: Facts | None) -> Table:
    columns = ["trials", "mean reward", "best so far"]
    best = np.maximum.accumulate(facts.rewards)
    other = baseline.rewards if baseline else []
    rows = []
    for part in parts(len(facts.rewards), NUM_ROWS):
        row = [
            f"{part.start + 1:,} to {part.stop:,}",
            f"{np.mean(facts.rewards[part]):.3f}",
            f"{best[part.stop - 1]:.3f}",
        ]
        rows.append([*row, f"{np.mean(other[part]):.3f}" if other[part] else ""])
    if baseline is None:
        return Table(columns, [row[:-1] for row in rows])
    return Table([*columns, f"mean reward, {baseline.quoted}"], rows)
