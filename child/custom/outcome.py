"""What a training function of the user's gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from child.result import MAX_REWARD


class OutcomeError(ValueError):
    """What was given back is no reward, or one that cannot be learned from."""


@dataclass(frozen=True)
class Outcome:
    """A reward, with all else that is to be known of a child.

    reward: what the policy learns from, from 0 to 1e9; an infeasible child has 0.
    validation: the figure that children are compared by; None: the reward.
    num_parameters: of what was trained.
    metrics: further finite figures, by their names.
    """

    reward: float
    validation: float | None = None
    num_parameters: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, returned: Any) -> Outcome:
        """Take what a function returned: an outcome, or a number, the reward.

        Raises:
            OutcomeError: it is neither, or a figure of it is not what it must be.
        """
        outcome = returned if isinstance(returned, Outcome) else cls(returned)
        reward = number("reward", outcome.reward)
        if reward < 0:
            raise OutcomeError(
                f"reward={reward:g}: must be at least 0, the reward of a child that cannot be "
                "trained"
            )
        if reward > MAX_REWARD:
            raise OutcomeError(
                f"reward={reward:g}: must be at most {MAX_REWARD:g}; one like that would stay in "
                "the average that later ones are compared with"
            )
        validation = outcome.validation
        return cls(
            reward,
            reward if validation is None else number("validation", validation),
            _count("num_parameters", outcome.num_parameters),
            {str(name): number(name, figure) for name, figure in outcome.metrics.items()},
        )


def _count(name: str, value: Any) -> int:
    count = number(name, value)
    if not 0 <= count < 2**63:
        raise OutcomeError(f"{name}={count:g}: must be at least 0, and below 2**63")
    return int(count)


def number(name: str, value: Any) -> float:
    """Give a figure as a plain number; numpy's and torch's are taken, too.

    Raises:
        OutcomeError: it is none, or not finite.
    """
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        plain = float(value)
    except (TypeError, ValueError, OverflowError):
        more = ", or, to say more, a nasrl.Outcome" if name == "reward" else ""
        raise OutcomeError(f"{name}={value!r:.200}: must be a number{more}") from None
    if not math.isfinite(plain):
        raise OutcomeError(f"{name}={plain}: must be finite")
    return plain
