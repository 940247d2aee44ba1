"""What is asked of a network beside a good figure: that it costs little."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.costs import costs_of
from child.measures import MEASURES, Measure, Measures
from child.result import MAX_REWARD, TrialResult

# What is known, or can be measured, of every network that we build.
NETWORK_COSTS = ("num_parameters", *MEASURES)


class Objective(BaseModel):
    """A reward for networks that cost little, and not only for good ones.

    The reward of a completed child becomes reward * (cost / target) ** exponent, with an exponent
    of its own on either side of the target. Zoph & Le 2017 have none of it, nor have the defaults.

    Source: Tan et al. 2019 (MnasNet), s3.1, eq. 2 and 3; their soft constraint has the exponents
    -0.07 and -0.07, their hard one 0 and -1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    cost: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="What a child is to have little of: num_parameters, num_multiply_adds (of one "
        "image, or one token), latency_s (seconds of one answer, as it was measured), or, where "
        "children are trained by code of yours, any of the metrics it gives. The reward is "
        "multiplied by (cost / target) ** exponent. Tan et al. 2019 (MnasNet), s3.1. null: the "
        "reward is that of Zoph & Le 2017.",
    )
    target: float | None = Field(
        None, gt=0, description="The cost that is aimed at: there the reward stays what it is."
    )
    exponent_below: float = Field(
        -0.07,
        ge=-100,
        le=0,
        description="The exponent of a child that costs no more than the target; 0: being cheaper "
        "earns nothing. Tan et al. 2019, eq. 3: alpha, -0.07 for a soft constraint, 0 for a hard "
        "one.",
    )
    exponent_above: float = Field(
        -0.07,
        ge=-100,
        le=0,
        description="The exponent of a child that costs more. Tan et al. 2019, eq. 3: beta, -0.07 "
        "for a soft constraint, -1 for a hard one.",
    )
    measures: Annotated[tuple[Measure, ...], Field(strict=False)] = Field(
        (),
        description="What is measured of every network, and written down, beside the cost: "
        "num_multiply_adds, latency_s. Not of children that code of yours trains.",
    )
    latency_batch_size: int = Field(
        1,
        ge=1,
        le=100_000,
        description="Images, or sequences of one token, that are answered at once as latency_s is "
        "measured.",
    )

    @property
    def measured(self) -> Measures:
        """What has to be measured of networks, for the cost or because it was asked for."""
        names = tuple(name for name in MEASURES if name in (self.cost, *self.measures))
        return Measures(names, self.latency_batch_size)

    def rewarded(self, result: TrialResult) -> TrialResult:
        """Give the result of a child with the reward that its cost leaves.

        The figures stay what they are. A child whose cost is not known, or is no cost, is
        infeasible: it has no place among the others. So is one whose reward would be above
        MAX_REWARD.
        """
        if self.cost is None or self.target is None or result.state != "completed":
            return result
        known = costs_of(result.num_parameters, result.metrics)
        cost = known.get(self.cost)
        if cost is None and self.cost in MEASURES:
            return _refused(
                result,
                f"objective.cost={self.cost}: must be known; it could not be measured, and the log "
                "of the child's worker says why, or its trainer did not give it",
            )
        if cost is None:
            return _refused(
                result,
                f"objective.cost={self.cost}: must be what the trainer gives; it gave "
                f"{', '.join(sorted(known)) or 'a reward alone'}",
            )
        if cost <= 0:
            return _refused(result, f"objective.cost={self.cost}: is {cost:g}: must be > 0")
        exponent = self.exponent_below if cost <= self.target else self.exponent_above
        try:
            reward = result.reward * (cost / self.target) ** exponent
        except (OverflowError, ZeroDivisionError):  # so much less than the target
            reward = math.inf
        if not reward <= MAX_REWARD:
            return _refused(
                result,
                f"objective.cost={self.cost}: is {cost:g}: the reward, {result.reward:g} * "
                f"({cost:g} / {self.target:g}) ** {exponent:g}, must be at most {MAX_REWARD:g}; "
                "one like that would stay in the average that later ones are compared with; bring "
                "target nearer to such costs, or the exponent nearer to 0",
            )
        return replace(result, reward=reward)

    @model_validator(mode="after")
    def _cost_has_a_target(self) -> Self:
        if self.cost is not None and self.target is None:
            raise ValueError(
                f"cost={self.cost}: must have a target, the cost that is aimed at, in the same unit"
            )
        if self.cost is None and self.target is not None:
            raise ValueError(
                f"target={self.target:g}: must be null, for there is no cost; name one, such as "
                "cost: num_parameters"
            )
        return self


def _refused(result: TrialResult, reason: str) -> TrialResult:
    return replace(result, state="infeasible", reward=0.0, validation=None, reason=reason)
