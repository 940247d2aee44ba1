"""Random search: every choice uniform, nothing learned; what a search has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from child.space import AnchorDecision, Decision, Space
from controller.rollout import Rollout
from ps.layout import FlatVector


class RandomSearch:
    """Draws every choice with equal probability; see `controller.strategy.Strategy`.

    It goes through the same harness as a policy that learns: it pushes gradients, which are zero.
    """

    def __init__(self, space: Space, num_parameters: int) -> None:
        self._space = space
        self._num_parameters = num_parameters

    def load(self, values: FlatVector) -> None:
        """Take no notice: no choice depends on a parameter."""

    def sample(
        self, depths: Sequence[int], generators: Sequence[np.random.Generator]
    ) -> list[Rollout]:
        return [
            self._draw(depth, generator)
            for depth, generator in zip(depths, generators, strict=True)
        ]

    def gradient(
        self,
        depths: Sequence[int],
        rollouts: Sequence[Rollout],
        advantages: Sequence[float],
        is_reweighted: bool = False,
    ) -> FlatVector:
        return np.zeros(self._num_parameters, np.float32)

    def _draw(self, depth: int, generator: np.random.Generator) -> Rollout:
        choices: list[int] = []
        log_probs: list[float] = []
        while (decision := self._space.next_decision(choices, depth)) is not None:
            choices.append(uniform_choice(decision, generator))
            log_probs.append(-math.log(decision.num_choices))
        return Rollout(tuple(choices), tuple(log_probs))


def uniform_choice(decision: Decision | AnchorDecision, generator: np.random.Generator) -> int:
    """Draw any of the choices of a decision with equal probability."""
    if isinstance(decision, AnchorDecision):
        # Bit by bit: there may be more choices than a machine word counts.
        bits = generator.integers(2, size=decision.num_earlier)
        return sum(1 << j for j, bit in enumerate(bits) if bit)
    return int(generator.integers(decision.num_choices))
