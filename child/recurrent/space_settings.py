"""What the cells of a recurrent search may be made of, as settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from child.recurrent.node import Activation, Combination


class RecurrentSettings(BaseModel):
    """What each cell may be: the defaults are Zoph & Le 2017, s3.4 and s4.2.

    Of a list with one value there is nothing to decide: the value is fixed, and the policy does
    not meet it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    base: int = Field(8, ge=1, le=64, description="Leaves of the tree of each cell.")
    # Lists in a file; not strict, so that they may become tuples.
    combinations: Annotated[tuple[Combination, ...], Field(min_length=1, strict=False)] = Field(
        ("add", "elem_mult"), description="The paper's control experiment has max besides."
    )
    activations: Annotated[tuple[Activation, ...], Field(min_length=1, strict=False)] = Field(
        ("identity", "tanh", "sigmoid", "relu"),
        description="The paper's control experiment has sin besides.",
    )

    @field_validator("combinations", "activations")
    @classmethod
    def _each_once(cls, choices: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(choices)) < len(choices):
            raise ValueError("every choice must stand there once")
        return choices
