"""What the nodes of a cell do to tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from child.recurrent.node import Activation, Combination

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


def combine(combination: Combination, one: Tensor, other: Tensor) -> Tensor:
    """Give the combination of two values of one shape, element by element.

    Where both are equal, ``max`` gives each half of the gradient.
    """
    return _COMBINE[combination](one, other)


def activate(activation: Activation, value: Tensor) -> Tensor:
    """Give the activation of each element; ``identity`` gives the tensor itself, not a copy."""
    return _ACTIVATE[activation](value)
