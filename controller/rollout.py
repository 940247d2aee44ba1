"""A whole list of choices, with the probability it was drawn with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rollout:
    """The choices of one trial and the log-probability, in nats, that each was drawn with.

    log_probs is empty where that is not known, as of a mutation; see `controller.evolution`.
    """

    choices: tuple[int, ...]
    log_probs: tuple[float, ...]

    @property
    def log_prob(self) -> float:
        """The log-probability of the whole list, where those of its choices are known."""
        return sum(self.log_probs)
