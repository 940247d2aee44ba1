"""What a shard is to be: its part of the layout, and how it applies gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ps.layout import Layout
from ps.optimizer import AdamSettings, OptimizerSettings

FORMAT = 2  # of the files of a shard; older ones are refused


class UpdateSettings(BaseModel):
    """When a shard takes an optimizer step, and what it does about stale gradients."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    accumulate: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Pushes whose mean makes one step of the optimizer; 10 in Zoph & Le "
        "2017, s4.2.",
    )
    staleness: Literal["none", "refuse", "scale"] = Field(
        "none",
        description="What is done about the pushes of others since a replica's pull. none: "
        "nothing, as in the paper. refuse: a gradient staler than max_staleness is computed again. "
        "scale: it is multiplied by 1 / (1 + staleness).",
    )
    max_staleness: int | None = Field(
        None, ge=0, le=10**9, description="In pushes; only with `staleness: refuse`, else null."
    )

    @model_validator(mode="after")
    def _bound_goes_with_its_rule(self) -> Self:
        if (self.staleness == "refuse") != (self.max_staleness is not None):
            raise ValueError(
                f"staleness={self.staleness!r} and max_staleness={self.max_staleness}: a bound "
                "must be given with 'refuse', and only with it"
            )
        return self


@dataclass(frozen=True)
class ShardPlan:
    """Shard `shard` of a layout, with its rules of updating."""

    layout: Layout
    shard: int
    optimizer: OptimizerSettings = field(default_factory=AdamSettings)
    updates: UpdateSettings = field(default_factory=UpdateSettings)

    @cached_property
    def num_parameters(self) -> int:
        """Length of the slice."""
        owned = self.layout.slices[self.shard]
        length: int = owned.stop - owned.start
        return length

    @property
    def who(self) -> str:
        """Name the shard in a message."""
        return f"shard {self.shard} of {self.layout.num_shards}"

    @property
    def identity(self) -> dict[str, object]:
        """What a state on disk must agree in, to be gone on from bit for bit."""
        return {
            "format": FORMAT,
            "shard": self.shard,
            "num_shards": self.layout.num_shards,
            "num_parameters": self.num_parameters,
            "layout_sha256": self.layout.sha256.hex(),
            "optimizer": self.optimizer.model_dump(mode="json"),
            "updates": self.updates.model_dump(mode="json"),
        }
