"""The derivatives of an unrolled cell within its steps, of all steps at once, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from child.recurrent.on_gpu.plan import PlannedNode, UnrollPlan

Recorded = Callable[[int], Tensor]
"""Gives what a register held in each step, (T, B, U)."""


class StepDerivatives(NamedTuple):
    """How the end of a step depends on its beginning: element by element, (T, B, U) each.

    The end of which a derivative is, is c_t for what is below the node that c_t is taken from, and
    the output of the root for all else: on its way to the root, what is below passes that node.

    inputs, products: with respect to W x_t and U h_{t-1}, for each leaf.
    memory: of the output of the root, with respect to c_t.
    c: with respect to c_{t-1}.
    """

    inputs: list[Tensor]
    products: list[Tensor]
    memory: Tensor
    c: Tensor


def step_derivatives(plan: UnrollPlan, recorded: Recorded) -> StepDerivatives:
    """Give the derivatives of all steps, the chain rule from the root down to the leaves."""
    one = torch.ones_like(recorded(plan.memory))
    derivatives = [one] * len(plan.nodes)
    inputs, products = ([one] * plan.num_leaves for _ in range(2))
    of_memory = of_c = one
    for index in reversed(range(len(plan.nodes))):
        node, derivative = plan.nodes[index], derivatives[index]
        if index == plan.inject_index:
            derivative = _activate_back(plan.inject, derivative, recorded)
            derivative, of_c = _combine_back(plan.inject, derivative, recorded)
        derivative = _activate_back(node, derivative, recorded)
        if index == plan.memory_index:
            of_memory, derivative = derivative, one
        both = _combine_back(node, derivative, recorded)
        if index < plan.num_leaves:
            inputs[index], products[index] = both
        else:
            child = 2 * (index - plan.num_leaves)
            derivatives[child : child + 2] = both
    return StepDerivatives(inputs, products, of_memory, of_c)


def _combine_back(node: PlannedNode, gradient: Tensor, recorded: Recorded) -> tuple[Tensor, Tensor]:
    """Give the gradients of both values from that of their combination; they may be one tensor."""
    if node.combination == "add":
        return gradient, gradient
    one, other = recorded(node.one), recorded(node.other)
    if node.combination == "elem_mult":
        return gradient * other, gradient * one
    shared = torch.where(one == other, gradient / 2, gradient)
    return shared.masked_fill(one < other, 0), shared.masked_fill(other < one, 0)


def _activate_back(node: PlannedNode, gradient: Tensor, recorded: Recorded) -> Tensor:
    """Give the gradient of a value from that of its activation."""
    if node.activation == "identity":
        return gradient
    if node.activation == "sin":
        return gradient * torch.cos(recorded(node.value))
    result, aten = recorded(node.result), torch.ops.aten
    of_value: Tensor
    match node.activation:
        case "tanh":
            of_value = aten.tanh_backward(gradient, result)
        case "sigmoid":
            of_value = aten.sigmoid_backward(gradient, result)
        case "relu":
            of_value = aten.threshold_backward(gradient, result, 0)
    return of_value
