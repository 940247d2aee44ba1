"""The programs of a cell: one step forward, and one step back."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Activation, Combination
from child.recurrent.on_cpu.kernel import Operation
from child.recurrent.on_cpu.program import Draft, Program


class CellPrograms(NamedTuple):
    """What a step of a cell with N leaves computes, M of which do not add.

    forward: from (sums, factors, c_{t-1}) to (root, c_t, kept).
    backward: from (kept, factors, c_{t-1}), and the gradients of root and of c_t, to the gradients
        of (sums, factors, c_{t-1}). It computes the inner nodes again, which takes no longer than
        to keep them and read them.

    sums, N rows: W x_t + U h_{t-1} of a leaf that adds them, U h_{t-1} of another.
    factors, M rows: W x_t of the others, which are ``other_leaves``.
    kept, N rows: what takes the place of the sums: their activations, where these will do.
    """

    forward: Program
    backward: Program
    other_leaves: tuple[int, ...]


@lru_cache(maxsize=256)
def cell_programs(architecture: CellArchitecture) -> CellPrograms:
    """Give the programs of a cell.

    Threads: may be called from many.
    """
    leaves = list(enumerate(architecture.nodes[: architecture.base]))
    others = tuple(leaf for leaf, node in leaves if node.combination != "add")
    # The gradient of a sine needs what the sine is of.
    kept = {leaf for leaf, node in leaves if leaf not in others and node.activation != "sin"}
    c = architecture.base + len(others)
    draft = Draft(c + 1)
    step = _Step(draft, architecture, others, c, activated=set())
    forward = draft.program(
        [
            step.outputs[-1],
            step.values[architecture.memory_index],
            *(step.activations[leaf] if leaf in kept else leaf for leaf, _ in leaves),
        ]
    )
    draft = Draft(c + 3)
    step = _Step(draft, architecture, others, c, activated=kept)
    backward = draft.program(step.back(of_root=c + 1, of_memory=c + 2))
    return CellPrograms(forward, backward, others)


class _Step:
    """The registers of a step.

    values, activations, outputs: of each node, before its activation, after it, and after the
        injection, too.
    activated: leaves whose activations stand in place of their sums.
    """

    def __init__(
        self,
        draft: Draft,
        architecture: CellArchitecture,
        others: tuple[int, ...],
        c: int,
        *,
        activated: set[int],
    ) -> None:
        self._put = draft.put
        self._cell = architecture
        self._c = c
        self._factors = {leaf: architecture.base + at for at, leaf in enumerate(others)}
        self.values: list[int] = []
        self.activations: list[int] = []
        self.outputs: list[int] = []
        for index, node in enumerate(architecture.nodes):
            if index >= architecture.base:
                one, other = architecture.children(index)
                value = self._combined(node.combination, self.outputs[one], self.outputs[other])
            elif index in self._factors:
                value = self._combined(node.combination, self._factors[index], index)
            else:
                value = index
            self.values.append(value)
            output = value if index in activated else self._activated(node.activation, value)
            self.activations.append(output)
            if index == architecture.inject_index:
                self._injected = self._combined(architecture.inject.combination, output, c)
                output = self._activated(architecture.inject.activation, self._injected)
            self.outputs.append(output)

    def back(self, of_root: int, of_memory: int) -> list[int]:
        """Write the way back; give the gradients of sums, factors and c_{t-1}."""
        cell = self._cell
        of_sums, of_factors = [0] * cell.base, dict.fromkeys(self._factors, 0)
        of_values = [0] * len(cell.nodes)
        for index in reversed(range(len(cell.nodes))):
            node, output = cell.nodes[index], self.outputs[index]
            gradient = of_root
            if index < len(cell.nodes) - 1:
                parent, sibling = cell.base + index // 2, self.outputs[index ^ 1]
                combination = cell.nodes[parent].combination
                gradient = self._of_combined(combination, of_values[parent], output, sibling)
            if index == cell.inject_index:
                inject, before = cell.inject, self.activations[index]
                gradient = self._of_activated(inject.activation, gradient, self._injected, output)
                of_c = self._of_combined(inject.combination, gradient, self._c, before)
                gradient = self._of_combined(inject.combination, gradient, before, self._c)
            value, output = self.values[index], self.activations[index]
            gradient = self._of_activated(node.activation, gradient, value, output)
            if index == cell.memory_index:
                gradient = self._put(Operation.ADD, gradient, of_memory)
            of_values[index] = gradient
            if index in self._factors:
                factor = self._factors[index]
                of_factors[index] = self._of_combined(node.combination, gradient, factor, index)
                gradient = self._of_combined(node.combination, gradient, index, factor)
            if index < cell.base:
                of_sums[index] = gradient
        return [*of_sums, *of_factors.values(), of_c]

    def _combined(self, combination: Combination, one: int, other: int) -> int:
        return self._put(_COMBINE[combination], one, other)

    def _activated(self, activation: Activation, value: int) -> int:
        return value if activation == "identity" else self._put(_ACTIVATE[activation], value)

    def _of_combined(self, combination: Combination, gradient: int, one: int, other: int) -> int:
        """Give the gradient of ``one`` from that of its combination with ``other``."""
        match combination:
            case "add":
                return gradient
            case "elem_mult":
                return self._put(Operation.ELEM_MULT, gradient, other)
            case "max":
                return self._put(Operation.MAX_BACK, gradient, one, other)

    def _of_activated(self, activation: Activation, gradient: int, value: int, output: int) -> int:
        """Give the gradient of a value from that of its activation."""
        match activation:
            case "identity":
                return gradient
            case "tanh":
                return self._put(Operation.TANH_BACK, gradient, output)
            case "sigmoid":
                return self._put(Operation.SIGMOID_BACK, gradient, output)
            case "relu":
                return self._put(Operation.RELU_BACK, gradient, output)
            case "sin":
                return self._put(Operation.SIN_BACK, gradient, value)


_COMBINE: dict[Combination, Operation] = {
    "add": Operation.ADD,
    "elem_mult": Operation.ELEM_MULT,
    "max": Operation.MAX,
}
_ACTIVATE: dict[Activation, Operation] = {
    "tanh": Operation.TANH,
    "sigmoid": Operation.SIGMOID,
    "relu": Operation.RELU,
    "sin": Operation.SIN,
}
