"""What the networks of a convolutional search may be made of, as settings."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from child.convolutional.layer import LayerType

Size = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(gt=0, le=1000)]
# Lists in a file; not strict, so that they may become tuples.
Sizes = Annotated[tuple[Size, ...], Field(min_length=1, strict=False)]
Types = Annotated[tuple[LayerType, ...], Field(min_length=1, strict=False)]


class ConvolutionalSettings(BaseModel):
    """What each layer may be. The defaults are Zoph & Le 2017, s4.1, without strides (its v1).

    Of a list with one value there is nothing to decide: the value is fixed, and the policy does
    not meet it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    filter_heights: Sizes = Field((1, 3, 5, 7), description="Of the filters, in pixels; s4.1.")
    filter_widths: Sizes = Field((1, 3, 5, 7), description="Of the filters, in pixels; s4.1.")
    stride_heights: Sizes = Field(
        (1,), description="Pixels by which filters are set apart, downwards; [1, 2, 3] in v2."
    )
    stride_widths: Sizes = Field((1,), description="Likewise, sideways; [1, 2, 3] in v2.")
    num_filters: Sizes = Field((24, 36, 48, 64), description="Filters of a layer; s4.1.")
    skip_connections: bool = Field(
        True,
        description="Whether it is decided for each layer which of those before feed it, by anchor "
        "points, s3.3. false: just the one before.",
    )
    is_chained: bool = Field(
        False,
        description="Whether every layer also takes the one before it, which its anchor point then "
        "leaves out. Open: s3.3 has a sigmoid for it, and every layer of Figure 7 takes it.",
    )
    layer_types: Types = Field(
        ("convolution",), description="With several, the type of each layer is decided first, s3.3."
    )
    pool_sizes: Sizes = Field(
        (2, 3), description="Windows of pooling layers, square, in pixels. Open in the paper."
    )
    pool_strides: Sizes = Field(
        (1, 2), description="Pixels by which they are set apart. Open in the paper."
    )
    learning_rates: Annotated[tuple[Rate, ...], Field(strict=False)] = Field(
        (),
        description="With some, that of the network is decided after its layers, s3.3, in place of "
        "training.learning_rate.",
    )
    block_size: int = Field(
        1,
        ge=1,
        le=100,
        description="Convolutions, densely connected, that each decided layer stands for; 3 in v3.",
    )
    pooled_after: Annotated[tuple[Size, ...], Field(strict=False)] = Field(
        (),
        description="Layers, counted as they are built, after which all maps are max-pooled, 2x2; "
        "[13, 24] in v3. A network that is not deeper than that has no such pooling.",
    )
    extra_filters: int = Field(
        0, ge=0, le=4096, description="Filters more in every convolution; 40 in v3's last row."
    )

    @field_validator(
        "filter_heights",
        "filter_widths",
        "stride_heights",
        "stride_widths",
        "num_filters",
        "layer_types",
        "pool_sizes",
        "pool_strides",
        "learning_rates",
        "pooled_after",
    )
    @classmethod
    def _each_once(cls, choices: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(choices)) < len(choices):
            raise ValueError("every choice must stand there once")
        return choices

    @model_validator(mode="after")
    def _something_is_decided(self) -> Self:
        if not self.skip_connections and self.is_chained:
            raise ValueError(
                "is_chained=true and skip_connections=false: without anchor points every layer "
                "takes the one before it alone; leave is_chained out"
            )
        if self.block_size > 1 and self.layer_types != ("convolution",):
            raise ValueError(
                f"block_size={self.block_size} and layer_types={list(self.layer_types)}: a block "
                "is of convolutions alone; set block_size to 1, or layer_types to [convolution]"
            )
        if list(self.pooled_after) != sorted(self.pooled_after):
            raise ValueError(
                f"pooled_after={list(self.pooled_after)}: must be numbers in ascending order"
            )
        return self
