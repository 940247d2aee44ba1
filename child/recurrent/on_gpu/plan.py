"""One step of a cell as instructions over registers, so that a loop over steps decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Activation, Combination, Node


class Instruction(NamedTuple):
    """Put ``function`` of two registers into a third, function(one, other, out=result).

    other: None for a function that changes one register in place, function(one).
    """

    function: Callable[..., Tensor]
    one: int
    other: int | None
    result: int


class PlannedNode(NamedTuple):
    """A node, or the injection, and the registers that it reads and writes.

    value: what is activated; the same register as ``result``, its activation, where nothing needs
        it afterwards.
    """

    combination: Combination
    activation: Activation
    one: int
    other: int
    value: int
    result: int


@dataclass(frozen=True)
class UnrollPlan:
    """What a loop over steps does in each of them, for a cell with N leaves.

    A register is a tensor (B, U). They are numbered, in this order:

        N of products, U h_{t-1} with the bias; those of leaf i in register i
        num_scratch, whose contents nobody needs after the step
        N of inputs, W x_t
        c_{t-1}
        num_kept, which the backward pass reads, each step its own

    copies: (from, to) of the products that are to be kept; they come before the instructions.
    nodes: as those of the cell, the root last.
    memory: the register of c_t, one of those that are kept, as is that of the root's result.
    is_below_memory: of each node, whether it is the one that c_t is taken from, or below it.
    """

    num_leaves: int
    num_scratch: int
    num_kept: int
    copies: tuple[tuple[int, int], ...]
    instructions: tuple[Instruction, ...]
    nodes: tuple[PlannedNode, ...]
    inject: PlannedNode
    inject_index: int
    memory_index: int
    root: int
    is_below_memory: tuple[bool, ...]

    @property
    def memory(self) -> int:
        return self.nodes[self.memory_index].value

    @property
    def inputs(self) -> int:
        """The first register of the inputs: those from it on differ from step to step."""
        return self.num_leaves + self.num_scratch

    @property
    def c(self) -> int:
        """The register of c_{t-1}."""
        return self.inputs + self.num_leaves

    @property
    def kept(self) -> int:
        """The first of the registers that are kept."""
        return self.c + 1

    @property
    def multiplied_leaves(self) -> tuple[int, ...]:
        """The leaves whose inputs and products have gradients of their own."""
        leaves = range(self.num_leaves)
        return tuple(leaf for leaf in leaves if self.nodes[leaf].combination != "add")


@lru_cache(maxsize=256)
def plan_unroll(architecture: CellArchitecture) -> UnrollPlan:
    """Give the plan of a cell.

    Threads: may be called from many.
    """
    num_leaves = architecture.base
    draft = _Draft(num_leaves)
    nodes: list[PlannedNode] = []
    outputs: list[int] = []
    for index, node in enumerate(architecture.nodes):
        if index >= num_leaves:
            one, other = (outputs[child] for child in architecture.children(index))
        else:
            one, other = draft.inputs[index], index
            if node.combination != "add":
                other = draft.copied(index)
        is_memory = index == architecture.memory_index
        planned = draft.planned(node, one, other, is_memory=is_memory)
        nodes.append(planned)
        if index == architecture.inject_index:
            inject = planned = draft.planned(architecture.inject, planned.result, draft.c)
        outputs.append(planned.result)
    draft.needed |= {nodes[architecture.memory_index].value, outputs[-1]}

    place = draft.places()
    return UnrollPlan(
        num_leaves=num_leaves,
        num_scratch=draft.num_results - len(draft.needed),
        num_kept=len(draft.needed),
        copies=tuple((product, place[kept]) for product, kept in draft.copies),
        instructions=tuple(
            Instruction(
                each.function,
                place[each.one],
                None if each.other is None else place[each.other],
                place[each.result],
            )
            for each in draft.instructions
        ),
        nodes=tuple(_placed(node, place) for node in nodes),
        inject=_placed(inject, place),
        inject_index=architecture.inject_index,
        memory_index=architecture.memory_index,
        root=place[outputs[-1]],
        is_below_memory=_below(architecture, architecture.memory_index),
    )


class _Draft:
    """Instructions whose registers are numbered in another order: scratch and kept ones last."""

    def __init__(self, num_leaves: int) -> None:
        self.inputs = range(num_leaves, 2 * num_leaves)
        self.c = 2 * num_leaves
        self.instructions: list[Instruction] = []
        self.copies: list[tuple[int, int]] = []
        self.needed: set[int] = set()  # results and copies that are to be kept
        self.num_results = 0

    def copied(self, product: int) -> int:
        copy = self._register()
        self.copies.append((product, copy))
        return copy

    def planned(self, node: Node, one: int, other: int, *, is_memory: bool = False) -> PlannedNode:
        value = result = self._register()
        self.instructions.append(Instruction(_COMBINE[node.combination], one, other, value))
        if node.combination != "add":
            self.needed |= {register for register in (one, other) if register > self.c}
        if is_memory or node.activation == "sin":
            if node.activation != "identity":
                result = self._register()
                function = _ACTIVATE_APART[node.activation]
                self.instructions.append(Instruction(function, value, value, result))
                self.needed.add(value if node.activation == "sin" else result)
        elif node.activation != "identity":
            self.instructions.append(Instruction(_ACTIVATE[node.activation], value, None, value))
            self.needed.add(value)
        return PlannedNode(node.combination, node.activation, one, other, value, result)

    def places(self) -> list[int]:
        """Give the final number of each register."""
        results = range(self.c + 1, self.c + 1 + self.num_results)
        scratch = [register for register in results if register not in self.needed]
        kept = sorted(self.needed)
        order = [*range(self.inputs.start), *scratch, *self.inputs, self.c, *kept]
        place = [0] * len(order)
        for number, register in enumerate(order):
            place[register] = number
        return place

    def _register(self) -> int:
        self.num_results += 1
        return self.c + self.num_results


def _placed(node: PlannedNode, place: list[int]) -> PlannedNode:
    registers = {name: place[getattr(node, name)] for name in ("one", "other", "value", "result")}
    return node._replace(**registers)


def _below(architecture: CellArchitecture, top: int) -> tuple[bool, ...]:
    """Tell of each node whether it is ``top`` or below it."""
    is_below = [index == top for index in range(len(architecture.nodes))]
    for index in reversed(range(architecture.base, len(is_below))):
        for child in architecture.children(index):
            is_below[child] |= is_below[index]
    return tuple(is_below)


_COMBINE: dict[Combination, Callable[..., Tensor]] = {
    "add": torch.add,
    "elem_mult": torch.mul,
    "max": torch.maximum,
}
_ACTIVATE: dict[Activation, Callable[..., Tensor]] = {
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
    "relu": torch.relu_,
}
# What is activated is needed afterwards, too.
_ACTIVATE_APART: dict[Activation, Callable[..., Tensor]] = {
    "tanh": lambda value, _, *, out: torch.tanh(value, out=out),
    "sigmoid": lambda value, _, *, out: torch.sigmoid(value, out=out),
    "relu": lambda value, _, *, out: torch.clamp_min(value, 0, out=out),
    "sin": lambda value, _, *, out: torch.sin(value, out=out),
}
