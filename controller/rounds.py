"""How a replica goes from one push to the next."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RoundSettings(BaseModel):
    """How a replica goes from one push to the next. The defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dispatch: Literal["batch", "continuous"] = Field(
        "batch",
        description="batch: new architectures are sampled when all of the round have ended. "
        "continuous: one is sampled whenever a child worker is free.",
    )
    correction: Literal["none", "clip"] = Field(
        "none",
        description="none: the gradient is computed at the parameters that were sampled with. "
        "clip: at those of now, each decision weighted by its clipped importance ratio.",
    )
    reuse: bool = Field(
        False,
        description="Take the known reward of an architecture that was trained before, instead of "
        "training it again.",
    )
