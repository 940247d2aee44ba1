"""The moving average of earlier rewards that a reward is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace


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

    Before the first reward it is ``start``, which judges that reward and is then forgotten: the
    first reward becomes the average.

    Source: Zoph & Le 2017, s3.2. Open there: the decay, the start (0, so that the first update is
    not zero), and that the average is of the reward, not of the accuracy.
    """

    decay: float
    start: float = 0.0
    average: float | None = None

    @property
    def stamp(self) -> float:
        """The baseline for a reward that arrives now."""
        return self.start if self.average is None else self.average

    def moved_by(self, reward: float) -> Baseline:
        """Give the baseline after a reward has arrived: decay * b + (1 - decay) * R."""
        if self.average is None:
            return replace(self, average=reward)
        return replace(self, average=self.decay * self.average + (1 - self.decay) * reward)
