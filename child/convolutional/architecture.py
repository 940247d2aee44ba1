"""The description of a convolutional network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ConvolutionalLayer:
    """A convolution with "same" padding and stride 1; sizes in pixels, all >= 1."""

    filter_height: int
    filter_width: int
    num_filters: int

    def __str__(self) -> str:
        return f"{self.filter_height}x{self.filter_width},{self.num_filters}"


@dataclass(frozen=True)
class ConvolutionalArchitecture:
    """A chain of convolutional layers, from the image to the classifier.

    >>> str(ConvolutionalArchitecture((ConvolutionalLayer(3, 5, 24), ConvolutionalLayer(1, 1, 36))))
    '3x5,24 - 1x1,36'
    """

    layers: tuple[ConvolutionalLayer, ...]

    def __str__(self) -> str:
        return " - ".join(str(layer) for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Give {"layers": [{"filter_height": …, "filter_width": …, "num_filters": …}, …]}."""
        return {"layers": [asdict(layer) for layer in self.layers]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ConvolutionalArchitecture:
        """Give the architecture that `to_json` described."""
        return cls(tuple(ConvolutionalLayer(**layer) for layer in data["layers"]))
