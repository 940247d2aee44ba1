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
        description="Whether what is left out stays out for a whole sequence. false: input and "
        "output are drawn anew for each step (Zaremba et al. 2014); embedding and recurrent hold "
        "in any case.",
    )


class LanguageModelSettings(BaseModel):
    """What stands around the cells. The defaults are those of Zoph & Le 2017, s4.2.

    The rates of dropout are open there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_layers: int = Field(
        2, ge=1, le=100, description="Layers of cells, one on top of the other; s4.2."
    )
    num_parameters: int | None = Field(
        20_000_000,
        ge=1,
        description="Weights: every model has as many units as make it no larger than this; null: "
        "hidden_size says it.",
    )
    hidden_size: int | None = Field(
        None, ge=1, le=1_000_000, description="Units of every layer; null: num_parameters says it."
    )
    embedding_size: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Numbers that stand for a token; null: as many as a layer has units.",
    )
    is_tied: bool = Field(
        False, description="One matrix embeds tokens and predicts them (Inan et al. 2017)."
    )
    init_range: float = Field(
        0.05,
        gt=0,
        description="Matrices start uniform between minus this and this (Zaremba et al. 2014).",
    )
    dropout: DropoutSettings = DropoutSettings()

    @model_validator(mode="after")
    def _has_one_size(self) -> Self:
        if self.num_parameters is None and self.hidden_size is None:
            raise ValueError("num_parameters=null and hidden_size=null: one must be given")
        if self.num_parameters is not None and self.hidden_size is not None:
            raise ValueError(
                f"num_parameters={self.num_parameters} and hidden_size={self.hidden_size}: one "
                "must be set to null"
            )
        if self.is_tied and self.embedding_size is not None:
            raise ValueError(
                f"is_tied=true and embedding_size={self.embedding_size}: must be null, for the "
                "matrix that predicts tokens is as wide as a layer"
            )
        return self
