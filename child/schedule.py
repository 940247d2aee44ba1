"""The learning rate of a child, epoch by epoch."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]


class LearningRateSchedule(BaseModel):
    """How the learning rate falls.

    By default as in DenseNet's code, which Zoph & Le follow (s4.1).

    step: times `factor` at each milestone. cosine: half a wave from the full rate down towards 0
    (Loshchilov & Hutter 2017, section 3, without restarts). exponential: times `factor` with every
    epoch after the first `constant_epochs`, as in Zaremba et al. 2014, s4.1. constant: never.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    kind: Literal["step", "cosine", "exponential", "constant"] = Field(
        "step",
        description="step: times factor at each milestone. cosine: like half a wave, down towards "
        "0. exponential: times factor with every epoch after the first constant_epochs. constant: "
        "never.",
    )
    # A list in a file; not strict, so that it may become a tuple.
    milestones: Annotated[tuple[Fraction, ...], Field(strict=False)] = Field(
        (0.5, 0.75), description="Of step: fractions of the epochs, ascending."
    )
    factor: float = Field(
        0.1, gt=0, le=1, description="Of step and exponential: what the rate is multiplied by."
    )
    constant_epochs: int = Field(6, ge=0, description="Of exponential: epochs at the full rate.")

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones={list(self.milestones)}: must ascend, each once")
        return self

    def fraction(self, epoch: int, num_epochs: int) -> float:
        """Give the learning rate of an epoch as a fraction of the first one, in [0, 1].

        A milestone is reached when that fraction of the epochs lies behind: of 50 epochs, 1 to 25
        have the full rate. DenseNet's code begins one epoch earlier, with the 25th, which would
        leave a single epoch no full rate at all.

        Args:
            epoch: from 1 to num_epochs.
            num_epochs: of the whole training.

        >>> [LearningRateSchedule().fraction(epoch, 4) for epoch in (1, 2, 3)]
        [1.0, 1.0, 0.1]
        """
        done = (epoch - 1) / num_epochs
        match self.kind:
            case "step":
                return self.factor ** sum(done >= milestone for milestone in self.milestones)
            case "cosine":
                return (1 + math.cos(math.pi * done)) / 2
            case "exponential":
                return self.factor ** max(0, epoch - self.constant_epochs)
            case "constant":
                return 1.0
