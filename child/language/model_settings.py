"""How a recurrent cell becomes a language model, as settings."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]


class DropoutSettings(BaseModel):
    """Which fraction of each thing is left out while a model trains.

    What is left out of a sequence stays out for all its steps (Gal & Ghahramani 2016, whom Zoph &
    Le follow in s4.2), unless `is_variational` is off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    embedding: Fraction = Field(0.2, description="Of the tokens: all places of the same one.")
    input: Fraction = Field(0.5, description="Of what goes into each layer.")
    recurrent: Fraction = Field(0.2, description="Of what each layer put out a step before.")
    output: Fraction = Field(0.5, description="Of what the last layer puts out.")
    is_variational: bool = Field(
        True,
        description="False: `input` and `output` are drawn anew for each step (Zaremba et al. "
        "2014). `embedding` and `recurrent` hold for a sequence in any case.",
    )


class LanguageModelSettings(BaseModel):
    """What stands around the cells. The defaults are those of Zoph & Le 2017, s4.2.

    The rates of dropout are open there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_layers: int = Field(2, ge=1, le=100)
    num_parameters: int | None = Field(
        20_000_000,
        ge=1,
        description="Every model has as many units as make it no larger than this.",
    )
    hidden_size: int | None = Field(
        None, ge=1, le=1_000_000, description="Of every layer, in place of num_parameters."
    )
    embedding_size: int | None = Field(
        None, ge=1, le=1_000_000, description="None: as large as a layer."
    )
    is_tied: bool = Field(
        False, description="One matrix embeds tokens and predicts them (Inan et al. 2017)."
    )
    init_range: float = Field(
        0.05, gt=0, description="Matrices start uniform in ± this (Zaremba et al. 2014)."
    )
    dropout: DropoutSettings = DropoutSettings()

    @model_validator(mode="after")
    def _has_one_size(self) -> Self:
        if (self.num_parameters is None) == (self.hidden_size is None):
            raise ValueError(
                f"num_parameters={self.num_parameters} and hidden_size={self.hidden_size}: one "
                "must be given, the other null"
            )
        if self.is_tied and self.embedding_size is not None:
            raise ValueError(
                f"is_tied=true and embedding_size={self.embedding_size}: must be null, for the "
                "matrix that predicts tokens is as wide as a layer"
            )
        return self
