"""What is trained after a search, as settings."""

from __future__ import annotations

from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.convergence import Convergence

MAX_SEEDS = 1000


class FinalSettings(BaseModel):
    """How the best network of the grid is trained to its end, on all data but those of the test."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_epochs: int = Field(
        ge=1,
        le=1_000_000,
        description="Epochs in which the learning rate falls as training.schedule says; then it "
        "stays.",
    )
    max_epochs: int | None = Field(
        None,
        ge=1,
        description="After so many it ends where it has not converged; null: after twice "
        "num_epochs.",
    )
    convergence: Convergence = Convergence()
    num_seeds: int = Field(
        5, ge=1, le=MAX_SEEDS, description="Networks that are trained, each with another seed."
    )
    variants: Annotated[tuple[dict[str, Any], ...], Field(strict=False, min_length=1)] = Field(
        ({},),
        description="Changes of the settings, such as of the size; each is trained with all seeds.",
    )
    snapshot_every_s: float = Field(
        120.0, gt=0, description="How much of a training is lost at the most when its process dies."
    )

    @property
    def limit(self) -> int:
        """The number of epochs after which a training ends in any case."""
        return 2 * self.num_epochs if self.max_epochs is None else self.max_epochs

    @model_validator(mode="after")
    def _schedule_is_gone_through(self) -> Self:
        if self.limit < self.num_epochs:
            raise ValueError(
                f"max_epochs={self.max_epochs}: must be at least num_epochs={self.num_epochs}"
            )
        return self


class RetrainSettings(BaseModel):
    """What is trained after a search: first a grid over its best networks, then the best of it.

    Source: Zoph & Le 2017, s4.1 and s4.2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    top: int = Field(
        5, ge=1, le=1000, description="Networks of the search, those of the highest rewards."
    )
    grid: dict[str, Any] = Field(
        description="Settings of the search, each with a list of values: every combination is "
        "trained, of every network."
    )
    num_grid_seeds: int = Field(
        1,
        ge=1,
        le=MAX_SEEDS,
        description="How often each is, with another seed each time; the mean counts.",
    )
    final: FinalSettings

    def to_yaml(self) -> str:
        """Give the settings, complete, as `deploy.retrain.loading` reads them."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
