"""One node of a recurrent cell: how it combines two values, and what it makes of the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Combination = Literal["add", "elem_mult", "max"]
Activation = Literal["identity", "tanh", "sigmoid", "relu", "sin"]

_SYMBOLS: dict[Combination, str] = {"add": "+", "elem_mult": "*", "max": "-max"}
_SHORT: dict[Activation, str] = {"identity": "id", "sigmoid": "sigm"}


@dataclass(frozen=True)
class Node:
    """activation(combination(a, b)), element by element; `child.recurrent.operations` computes it.

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
        for name, known in (("combination", Combination), ("activation", Activation)):
            if (value := getattr(self, name)) not in get_args(known):
                raise ValueError(f"{name}={value!r}: must be one of {', '.join(get_args(known))}")

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
