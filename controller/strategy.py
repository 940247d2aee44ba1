"""How architectures are chosen, and what is learned from their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from controller.rollout import Rollout
from ps.layout import FlatVector

StrategyName = Literal["reinforce", "ppo", "evolution", "random"]


class UnusableGradient(ValueError):
    """There is no gradient that a shard would take: it is not finite, or too large."""


class Strategy(Protocol):
    """What a controller replica asks for.

    The parameters live on the shards: they come in with `load`, and leave as a gradient.
    """

    def load(self, values: FlatVector) -> None:
        """Take over the parameters, (P,) float32; sample and gradient go by them."""
        ...

    def sample(
        self, depths: Sequence[int], generators: Sequence[np.random.Generator]
    ) -> list[Rollout]:
        """Choose an architecture for each depth; generators[i] is the randomness of rollout i."""
        ...

    def gradient(
        self,
        depths: Sequence[int],
        rollouts: Sequence[Rollout],
        advantages: Sequence[float],
        is_reweighted: bool = False,
    ) -> FlatVector:
        """Give the gradient, (P,) float32, of a loss to be minimized by the shards.

        is_reweighted: other parameters were loaded since the rollouts were sampled; their decisions
        are weighted for that.

        Raises:
            UnusableGradient: these rewards have no gradient that may leave the replica.
        """
        ...
