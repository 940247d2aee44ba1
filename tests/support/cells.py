"""Recurrent cells to test with, and numbers to feed them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Node

COMBINATIONS = ("add", "elem_mult", "max")
ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu", "sin")

FIGURE_5 = CellArchitecture(
    nodes=(Node("add", "tanh"), Node("elem_mult", "relu"), Node("elem_mult", "sigmoid")),
    inject=Node("add", "relu"),
    memory_index=1,
    inject_index=0,
)
"""The example of Zoph & Le 2017, Figure 5."""


def random_cell(seed: int, base: int) -> CellArchitecture:
    """Give a cell of any combinations and activations, the same for the same seed."""
    rng = np.random.default_rng([seed, base])

    def node() -> Node:
        return Node(str(rng.choice(COMBINATIONS)), str(rng.choice(ACTIVATIONS)))

    nodes = tuple(node() for _ in range(2 * base - 1))
    memory_index, inject_index = (int(index) for index in rng.integers(len(nodes), size=2))
    return CellArchitecture(nodes, node(), memory_index, inject_index)


def numbers(seed: int, *shape: int) -> Tensor:
    """Give normal numbers in float64, the same for the same seed and shape."""
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape))


def fill(module: nn.Module, seed: int) -> None:
    """Set all weights to `numbers`, biases included, each weight to others."""
    with torch.no_grad():
        for place, weight in enumerate(module.parameters()):
            weight.copy_(numbers(seed + place, *weight.shape))
