"""What became of a child that was trained and tested."""

from __future__ import annotations

from dataclasses import dataclass

from child.result import TrialResult
from child.weights import Weights


@dataclass(frozen=True)
class Tested:
    """A child that was trained, and tested once.

    figure: of the data that it had not met; see `child.metric.Metric`.
    weights: as they were tested, after the last epoch.
    """

    result: TrialResult
    figure: float
    weights: Weights
