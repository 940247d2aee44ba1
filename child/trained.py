"""A child that was trained and kept."""

from __future__ import annotations

from dataclasses import dataclass

from child.result import TrialResult
from child.weights import Weights


@dataclass(frozen=True)
class TrainedChild:
    """What became of a child, with its weights after the last epoch.

    test: the figure of data that it had not met, see `child.metric.Metric`; None where it was not
        tested.
    """

    result: TrialResult
    weights: Weights
    test: float | None = None
