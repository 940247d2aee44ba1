"""One layer of a convolutional network: what it does, and which layers feed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

LayerType = Literal["convolution", "max_pooling", "average_pooling", "batch_norm", "contrast_norm"]


@dataclass(frozen=True)
class Convolution:
    """A convolution with "same" padding; sizes and strides in pixels, all >= 1.

    In a network it goes with batch norm and ReLU, as `child.convolutional.network` orders them.
    """

    filter_height: int
    filter_width: int
    num_filters: int
    stride_height: int = 1
    stride_width: int = 1
    type: ClassVar[LayerType] = "convolution"

    def __str__(self) -> str:
        strides = _strides(self.stride_height, self.stride_width)
        return f"{self.filter_height}x{self.filter_width}{strides},{self.num_filters}"


@dataclass(frozen=True)
class Pooling:
    """The largest value, or the mean, of each window, with "same" padding that counts for nothing.

    Sizes and strides in pixels, all >= 1.
    """

    type: Literal["max_pooling", "average_pooling"]
    height: int
    width: int
    stride_height: int = 1
    stride_width: int = 1

    def __str__(self) -> str:
        kind = self.type.removesuffix("_pooling")
        return f"{kind} {self.height}x{self.width}{_strides(self.stride_height, self.stride_width)}"


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation of each channel, learned scale and shift included."""

    type: ClassVar[LayerType] = "batch_norm"

    def __str__(self) -> str:
        return "batch norm"


@dataclass(frozen=True)
class ContrastNorm:
    """Local contrast normalisation, see `child.convolutional.contrast_norm`."""

    type: ClassVar[LayerType] = "contrast_norm"

    def __str__(self) -> str:
        return "contrast norm"


Operation = Convolution | Pooling | BatchNorm | ContrastNorm

_OPERATIONS: dict[str, type[Operation]] = {
    "convolution": Convolution,
    "max_pooling": Pooling,
    "average_pooling": Pooling,
    "batch_norm": BatchNorm,
    "contrast_norm": ContrastNorm,
}


@dataclass(frozen=True)
class Layer:
    """An operation on the outputs of the layers in ``inputs``, concatenated along depth.

    inputs: numbers of earlier layers, from 1, in ascending order; 0 is the image beside them, and
        none at all is the image alone.
    """

    operation: Operation
    inputs: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give {"type": …, the sizes of that type …, "inputs": […]}."""
        return {
            "type": self.operation.type,
            **asdict(self.operation),
            "inputs": list(self.inputs),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layer:
        """Give the layer that `to_json` described.

        Raises:
            ValueError: a key is missing, unknown, or holds something else.
        """
        if "inputs" not in data:
            raise ValueError(f"{dict(data)}: must have inputs, a list of the layers that feed it")
        kind = _OPERATIONS.get(data.get("type", ""))
        if kind is None:
            raise ValueError(f"type={data.get('type')!r}: must be one of {', '.join(_OPERATIONS)}")
        names = {field.name for field in fields(kind)}
        given = {name: value for name, value in data.items() if name != "inputs"}
        if "type" not in names:
            del given["type"]
        if set(given) != names:
            raise ValueError(
                f"a {data['type']} with {', '.join(sorted(given)) or 'nothing'}: must have "
                f"{', '.join(sorted(names)) or 'nothing'}"
            )
        return cls(kind(**given), tuple(data["inputs"]))


def _strides(height: int, width: int) -> str:
    return "" if height == width == 1 else f"/{height}x{width}"
