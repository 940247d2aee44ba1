"""One node of a recurrent cell: how it combines two values, and what it makes of the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Combination = Literal["add", "elem_mult", "max"]
Activation = Literal["identity", "tanh", "sigmoid", "relu", "sin"]

_COMBINE: dict[Combination, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "elem_mult": torch.mul,
    "max": torch.maximum,
}
_ACTIVATE: dict[Activation, Callable[[Tensor], Tensor]] = {
    "identity": lambda value: value,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "sin": torch.sin,
}
_SYMBOLS: dict[Combination, str] = {"add": "+", "elem_mult": "*", "max": "-max"}
_SHORT: dict[Activation, str] = {"identity": "id", "sigmoid": "sigm"}


@dataclass(frozen=True)
class Node:
    """activation(combination(a, b)), element by element.

    ``max`` and ``sin`` are those of the paper's control experiment. It prints short:

    >>> print(Node("add", "tanh"), Node("elem_mult", "sigmoid"), Node("max", "identity"))
    tanh+ sigm* id-max

    Raises:
        ValueError: a combination or an activation that does not exist.

    Source: Zoph & Le 2017, s3.4 and s4.2.
    """

    combination: Combination
    activation: Activation

    def __post_init__(self) -> None:
        if self.combination not in _COMBINE:
            raise ValueError(
                f"combination={self.combination!r}: must be one of {', '.join(_COMBINE)}"
            )
        if self.activation not in _ACTIVATE:
            raise ValueError(
                f"activation={self.activation!r}: must be one of {', '.join(_ACTIVATE)}"
            )

    def __str__(self) -> str:
        return _SHORT.get(self.activation, self.activation) + _SYMBOLS[self.combination]

    def to_json(self) -> dict[str, Any]:
        """Give {"combination": …, "activation": …}."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:
        """Give the node that `to_json` described.

        Raises:
            ValueError: it describes none.
        """
        if set(data) != {"combination", "activation"}:
            raise ValueError(
                f"a node with {', '.join(sorted(data)) or 'nothing'}: must have activation, "
                "combination"
            )
        return cls(data["combination"], data["activation"])


def combine(combination: Combination, one: Tensor, other: Tensor) -> Tensor:
    """Give the combination of two values of one shape, element by element.

    Where both are equal, ``max`` gives each half of the gradient.
    """
    return _COMBINE[combination](one, other)


def activate(activation: Activation, value: Tensor) -> Tensor:
    """Give the activation of each element; ``identity`` gives the tensor itself, not a copy."""
    return _ACTIVATE[activation](value)
