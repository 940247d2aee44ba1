"""How deep the networks are that a search samples, as it goes on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ScheduleSettings(BaseModel):
    """The depth of sampled networks. The defaults are those of Zoph & Le 2017, s4.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_layers: int = Field(6, ge=1, le=1000, description="Layers of the first networks.")
    increase: int = Field(
        2,
        ge=0,
        le=1000,
        description="Layers to add after every increase_every trials; 0: none.",
    )
    increase_every: int = Field(
        1600, ge=1, le=10**9, description="Trials of the whole search; s4.1."
    )

    def depth(self, trial: int) -> int:
        """Give the number of layers of a trial, numbered from 1 over all replicas.

        >>> [ScheduleSettings().depth(trial) for trial in (1, 1600, 1601, 12800)]
        [6, 6, 8, 20]
        """
        return self.num_layers + self.increase * ((trial - 1) // self.increase_every)
