"""One step of a recurrent cell, from the products with its weights to its new state."""

from __future__ import annotations

from torch import Tensor

from child.recurrent.architecture import CellArchitecture
from child.recurrent.operations import activate, combine


def step(
    architecture: CellArchitecture, projected_input: Tensor, projected_hidden: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """Give the output of the root, before any projection of it, and the new c.

    Args:
        architecture: the cell, with N leaves.
        projected_input: (..., N*U), W x_t of all leaves, leaf 0 first.
        projected_hidden: (..., N*U), U h_{t-1} of all leaves, biases included.
        c: (..., U), c_{t-1}.

    Returns:
        (..., U) each; no argument is changed.

    Source: Zoph & Le 2017, s3.4 and Figure 5.
    """
    from_input = projected_input.chunk(architecture.base, dim=-1)
    from_hidden = projected_hidden.chunk(architecture.base, dim=-1)
    outputs: list[Tensor] = []
    new_c = c
    for index, node in enumerate(architecture.nodes):
        if index < architecture.base:
            value = combine(node.combination, from_input[index], from_hidden[index])
        else:
            left, right = architecture.children(index)
            value = combine(node.combination, outputs[left], outputs[right])
        if index == architecture.memory_index:
            new_c = value
        value = activate(node.activation, value)
        if index == architecture.inject_index:
            inject = architecture.inject
            value = activate(inject.activation, combine(inject.combination, value, c))
        outputs.append(value)
    return outputs[-1], new_c
