"""The space of plain convolutional networks: filter sizes and numbers of filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from child.convolutional.architecture import ConvolutionalArchitecture, ConvolutionalLayer
from child.space import Decision

Size = Annotated[int, Field(ge=1, le=4096)]
# Lists in a file; not strict, so that they may become tuples.
Choices = Annotated[tuple[Size, ...], Field(min_length=1, strict=False)]


class ConvolutionalSettings(BaseModel):
    """The choices that each layer has. Zoph & Le 2017, s4.1: {1, 3, 5, 7} and {24, 36, 48, 64}."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    filter_heights: Choices = (1, 3, 5, 7)
    filter_widths: Choices = (1, 3, 5, 7)
    num_filters: Choices = (24, 36, 48, 64)

    @field_validator("filter_heights", "filter_widths", "num_filters")
    @classmethod
    def _each_once(cls, choices: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(choices)) < len(choices):
            raise ValueError("every choice must stand there once")
        return choices


class ConvolutionalSpace:
    """Networks of ``depth`` convolutional layers; see `child.space.Space`.

    For each layer, from the image on: filter height, filter width, number of filters. (The
    order of Zoph & Le 2017, Figure 2, of which strides and anchor points are not predicted here.)
    """

    def __init__(self, settings: ConvolutionalSettings) -> None:
        self._options = {
            "filter_height": settings.filter_heights,
            "filter_width": settings.filter_widths,
            "num_filters": settings.num_filters,
        }
        self._decisions = tuple(Decision(kind, len(o)) for kind, o in self._options.items())

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self._decisions

    def next_decision(self, choices: Sequence[int], depth: int) -> Decision | None:
        layer, step = divmod(len(choices), len(self._decisions))
        return self._decisions[step] if layer < depth else None

    def decode(self, choices: Sequence[int], depth: int) -> ConvolutionalArchitecture:
        steps = len(self._decisions)
        if len(choices) != depth * steps:
            raise ValueError(
                f"{len(choices)} choices: must be {depth * steps}, {steps} for each of the {depth} "
                "layers"
            )
        for index, choice in enumerate(choices):
            decision = self._decisions[index % steps]
            if not 0 <= choice < decision.num_choices:
                raise ValueError(
                    f"choices[{index}]={choice}: {decision.kind} has the choices 0 to "
                    f"{decision.num_choices - 1}"
                )
        return ConvolutionalArchitecture(
            tuple(
                ConvolutionalLayer(
                    **{
                        kind: options[choices[first + step]]
                        for step, (kind, options) in enumerate(self._options.items())
                    }
                )
                for first in range(0, len(choices), steps)
            )
        )
