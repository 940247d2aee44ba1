"""When a training has converged."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field


class Convergence(BaseModel):
    """A training has converged once its loss hardly falls any more.

    Zoph & Le 2017 train their best network "until convergence" (s4.1, s4.2) and do not say when
    that is. Data to validate on there are none, since all of them are trained on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    patience: int = Field(
        5, ge=1, description="Epochs in which the lowest loss of the training has to fall."
    )
    min_improvement: float = Field(
        0.01, gt=0, lt=1, description="The fraction by which it has to fall in them."
    )

    def is_reached(self, losses: Sequence[float]) -> bool:
        """Tell whether the lowest of these losses fell too little, or just so much, at the end.

        Args:
            losses: of every epoch so far, >= 0.

        >>> convergence = Convergence(patience=2, min_improvement=0.1)
        >>> [convergence.is_reached(losses) for losses in ([8.0, 7.5, 6.0], [8.0, 7.5, 7.3])]
        [False, True]
        """
        before = losses[: -self.patience]
        if not before:
            return False
        return min(losses[-self.patience :]) >= (1 - self.min_improvement) * min(before)
