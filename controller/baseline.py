"""The moving average of earlier rewards that a reward is compared with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Baseline:
    """An exponential moving average of rewards; it never contains the reward that it judges.

    Take the stamp first, move the baseline afterwards:

    >>> baseline = Baseline(decay=0.75)
    >>> baseline.stamp
    0.0
    >>> baseline = baseline.moved_by(0.5)
    >>> baseline.stamp
    0.5
    >>> baseline.moved_by(0.9).stamp
    0.6

    Source: Zoph & Le 2017, s3.2. Open there: the decay, the first value (here 0, so that the first
    update is not zero; the first reward then becomes the average), and that the average is of
    the reward, not of the accuracy.
    """

    decay: float
    average: float | None = None

    @property
    def stamp(self) -> float:
        """The baseline for a reward that arrives now."""
        return 0.0 if self.average is None else self.average

    def moved_by(self, reward: float) -> Baseline:
        """Give the baseline after a reward has arrived: decay * b + (1 - decay) * R."""
        if self.average is None:
            return Baseline(self.decay, reward)
        return Baseline(self.decay, self.decay * self.average + (1 - self.decay) * reward)
