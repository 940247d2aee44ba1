"""The description of a convolutional network as a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from child.convolutional.layer import Convolution, Layer


@dataclass(frozen=True)
class ConvolutionalArchitecture:
    """Layers between the image and the classifier, numbered from 1, each with its inputs.

    pooled_after: after each of these layers every feature map that goes on, the image included, is
        max-pooled, 2x2 with stride 2.
    also_classified: layers that go to the classifier although they feed others; what feeds nobody
        goes there in any case.
    learning_rate: what the network is trained with, where that was decided with it.

    It prints as one line: operations in order, each followed by the layers that feed it unless
    that is just the one before.

    >>> three = Convolution(3, 3, 36), Convolution(3, 5, 48), Convolution(1, 1, 24, 2, 2)
    >>> inputs = (), (1,), (1, 2)
    >>> print(ConvolutionalArchitecture(tuple(map(Layer, three, inputs))))
    3x3,36 - 3x5,48 - 1x1/2x2,24 <1,2

    Raises:
        ValueError: a size or stride below 1, an input that is not an earlier layer, a position of
            pooling that is not between two layers, or a learning rate that is none.
    """

    layers: tuple[Layer, ...]
    pooled_after: tuple[int, ...] = ()
    also_classified: tuple[int, ...] = ()
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("layers: must be at least one")
        for number, layer in enumerate(self.layers, start=1):
            for name, value in asdict(layer.operation).items():
                if name != "type" and not (isinstance(value, int) and value >= 1):
                    raise ValueError(f"layer {number}: {name}={value!r}: must be at least 1")
            known = set(range(number))
            if list(layer.inputs) != sorted(set(layer.inputs) & known) or layer.inputs == (0,):
                raise ValueError(
                    f"layer {number}: inputs={list(layer.inputs)}: must be numbers of layers "
                    "before it, in ascending order, 0 for the image beside them, or none"
                )
        if list(self.pooled_after) != sorted(set(self.pooled_after) & set(range(1, self.depth))):
            raise ValueError(
                f"pooled_after={list(self.pooled_after)}: must be numbers of layers, in ascending "
                f"order, each below the last one's, {self.depth}"
            )
        fed = {number for layer in self.layers for number in layer.inputs} - {0}
        if list(self.also_classified) != sorted(set(self.also_classified) & fed):
            raise ValueError(
                f"also_classified={list(self.also_classified)}: must be numbers of layers that "
                "feed others, in ascending order"
            )
        rate = self.learning_rate
        if rate is not None and not (isinstance(rate, float) and 0 < rate < math.inf):
            raise ValueError(f"learning_rate={rate!r}: must be a number above 0")

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.layers)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The layers that go to the classifier: all that feed no other, and ``also_classified``."""
        fed = {number for layer in self.layers for number in layer.inputs}
        fed -= set(self.also_classified)
        return tuple(n for n in range(1, self.depth + 1) if n not in fed)

    def with_every_skip(self) -> ConvolutionalArchitecture:
        """Give the network in which every layer takes all layers before it (Zoph & Le, s4.1)."""
        return self._with_inputs(lambda number: tuple(range(1, number)))

    def without_skips(self) -> ConvolutionalArchitecture:
        """Give the network in which every layer takes the one before it alone."""
        return self._with_inputs(lambda number: (number - 1,) if number > 1 else ())

    def widened(self, num_filters: int) -> ConvolutionalArchitecture:
        """Give the network with that many filters more in every convolution.

        Source: Zoph & Le 2017, s4.1: "more filters" adds 40 to every layer of the found network.
        """
        layers = (
            replace(layer, operation=replace(o, num_filters=o.num_filters + num_filters))
            if isinstance(o := layer.operation, Convolution)
            else layer
            for layer in self.layers
        )
        return replace(self, layers=tuple(layers))

    def __str__(self) -> str:
        text = ""
        for number, layer in enumerate(self.layers, start=1):
            if number > 1:
                text += " -pooled- " if number - 1 in self.pooled_after else " - "
            text += str(layer.operation)
            if layer.inputs != ((number - 1,) if number > 1 else ()):
                text += " <" + ",".join(str(n or "image") for n in layer.inputs or (0,))
        if self.also_classified:
            text += f" - classifier <{','.join(map(str, self.outputs))}"
        rate = self.learning_rate
        return text if rate is None else f"{text} (learning rate {rate:g})"

    def to_json(self) -> dict[str, Any]:
        """Give {"layers": […], …} with a key for each field; see `Layer.to_json`."""
        return {
            "layers": [layer.to_json() for layer in self.layers],
            "pooled_after": list(self.pooled_after),
            "also_classified": list(self.also_classified),
            "learning_rate": self.learning_rate,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConvolutionalArchitecture:
        """Give the architecture that `to_json` described.

        Raises:
            ValueError: it describes none.
        """
        keys = {field.name for field in fields(cls)}
        if set(data) != keys:
            raise ValueError(
                f"an architecture with {', '.join(sorted(data)) or 'nothing'}: must have "
                f"{', '.join(sorted(keys))}"
            )
        return cls(
            tuple(Layer.from_json(layer) for layer in data["layers"]),
            tuple(data["pooled_after"]),
            tuple(data["also_classified"]),
            data["learning_rate"],
        )

    def _with_inputs(
        self, inputs_of: Callable[[int], tuple[int, ...]]
    ) -> ConvolutionalArchitecture:
        layers = (
            replace(layer, inputs=inputs_of(number))
            for number, layer in enumerate(self.layers, start=1)
        )
        return replace(self, layers=tuple(layers), also_classified=())
