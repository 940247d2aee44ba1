"""How figures of a search move from trial to trial."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.trial import Trial

Curve = NDArray[np.float64]


def moving_mean(figures: ArrayLike, width: int) -> Curve:
    """Give for each figure the mean of the last ``width`` up to it, or of as many as there are.

    >>> moving_mean([1, 2, 6, 7], width=2).tolist()
    [1.0, 1.5, 4.0, 6.5]
    """
    sums = np.concatenate([[0.0], np.cumsum(figures)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - width, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def smoothing(number: int) -> int:
    """Give over how many of so many trials a moving mean is taken: a twentieth, 10 at least."""
    return max(10, number // 20)


def top_means(trials: Sequence[Trial], k: int) -> Curve:
    """Give after each trial the mean figure of the best k architectures so far.

    An architecture that was trained more than once counts once, with its best result. Best is what
    has the highest reward; the figure is that of validation. nan while there are fewer than k.

    Source: Zoph & Le 2017, Figure 6.
    """
    best: list[tuple[float, int, str | None, float]] = []  # the highest reward first
    means = np.full(len(trials), np.nan)
    for number, trial in enumerate(trials):
        if trial.state == "completed" and trial.reward is not None and trial.validation is not None:
            entry = (-trial.reward, trial.trial, trial.architecture_sha256, trial.validation)
            same = [other for other in best if other[2] == entry[2]]
            if not same or entry < same[0]:
                best = [other for other in best if other not in same]
                insort(best, entry)
                del best[k:]
        if len(best) == k:
            means[number] = sum(entry[3] for entry in best) / k
    return means


def parts(number: int, at_most: int) -> list[slice]:
    """Cut so many things into equal parts, in their order; the sizes differ by one at most.

    >>> parts(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    num_parts = min(number, at_most)
    bounds = [number * part // num_parts for part in range(num_parts + 1)] if number else [0]
    return [slice(a, b) for a, b in pairwise(bounds)]


def thinned(number: int, at_most: int) -> NDArray[np.int64]:
    """Give which of so many points of a curve are drawn: all, or some, with the first and last."""
    return np.unique(np.linspace(0, max(number - 1, 0), min(number, at_most)).astype(np.int64))


def percentiles(figures: ArrayLike, ranks: Sequence[float]) -> list[float]:
    """Give percentiles of figures that are finite; nan where there is none."""
    found: NDArray[Any] = np.asarray(figures, float)
    found = found[np.isfinite(found)]
    return [float(p) for p in np.percentile(found, ranks)] if len(found) else [np.nan] * len(ranks)
