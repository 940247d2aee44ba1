"""What is open between a convolutional architecture and a network, as settings."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class NetworkSettings(BaseModel):
    """What Zoph & Le 2017 leave open between an architecture and a network."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    order: Literal["convolution-norm-relu", "convolution-relu-norm", "norm-relu-convolution"] = (
        Field(
            "convolution-norm-relu",
            description="Of batch norm and ReLU. Open in the paper. The last is DenseNet's, with "
            "both at the end, too.",
        )
    )
    features: Literal["average", "flatten"] = Field(
        "average",
        description="What the classifier sees. Open in the paper; the mean over all pixels is what "
        "fits the parameter count of its Figure 7.",
    )
    norm_epsilon: float = Field(
        1e-5, gt=0, le=1, description="Added to the variance in batch norm."
    )
    initialization: Literal["he", "torch"] = Field(
        "he",
        description="Of convolutions. he: normal with variance 2 / (pixels of the filter x number "
        "of filters), as in DenseNet's code. torch: its own default.",
    )
