"""A recurrent cell as equations that a person can read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Activation, Combination


@dataclass(frozen=True)
class Notation:
    """How the parts of an equation are written; {} stands for the number of a leaf, or a name.

    input, hidden: what a leaf takes. memory, output: the new c and h. call, maximum: functions.
    """

    input: str = "W{} x"
    hidden: str = "U{} h"
    memory: str = "c'"
    output: str = "h'"
    call: str = "{}"
    maximum: str = "max"


MATHEMATICS = Notation()


def equations(cell: CellArchitecture) -> str:
    """Give the cell as lines ``name = …``, each using names of lines above it.

    x, h and c stand for x_t, h_{t-1} and c_{t-1}; c' and h' for the new c_t and h_t. W3 and U3 are
    the weights of leaf 3 for x and for h, a3 is the output of node 3, injection included. ``*`` and
    ``max`` are element by element; identities are not written. A bias, where a layer has one, is
    added to each U h; a projection is applied to h' at the end.

    >>> from child.recurrent.node import Node
    >>> leaves = Node("add", "tanh"), Node("elem_mult", "relu")
    >>> root, inject = Node("elem_mult", "sigmoid"), Node("add", "relu")
    >>> print(equations(CellArchitecture((*leaves, root), inject, 1, 0)))
    a0 = relu(tanh(W0 x + U0 h) + c)
    c' = (W1 x) * (U1 h)
    a1 = relu(c')
    h' = sigmoid(a0 * a1)
    """
    lines = assignments(cell, MATHEMATICS)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}} = {value}" for name, value in lines)


def assignments(cell: CellArchitecture, notation: Notation) -> list[tuple[str, str]]:
    """Give the equations as pairs of a name and its value, each using names before it."""
    lines: list[tuple[str, str]] = []
    outputs: list[str] = []  # for each node, the name that its parent uses
    for index, node in enumerate(cell.nodes):
        if index < cell.base:
            taken = notation.input.format(index), notation.hidden.format(index)
        else:
            left, right = cell.children(index)
            taken = outputs[left], outputs[right]
        value = _combined(notation, node.combination, *taken)
        if index == cell.memory_index:
            lines.append((notation.memory, value))
            value = notation.memory
        value = _activated(notation, node.activation, value)
        if index == cell.inject_index:
            injected = _combined(notation, cell.inject.combination, value, "c")
            value = _activated(notation, cell.inject.activation, injected)
        name = notation.output if index == len(cell.nodes) - 1 else f"a{index}"
        if value == notation.memory and name != notation.output:
            name = notation.memory
        else:
            lines.append((name, value))
        outputs.append(name)
    return lines


def _combined(notation: Notation, combination: Combination, one: str, other: str) -> str:
    match combination:
        case "add":
            return f"{one} + {other}"
        case "elem_mult":
            return f"{_factor(one)} * {_factor(other)}"
        case "max":
            return f"{notation.call.format(notation.maximum)}({one}, {other})"


def _factor(text: str) -> str:
    is_name_or_call = " " not in text or re.match(r"[\w.]+\(", text)
    return text if is_name_or_call else f"({text})"


def _activated(notation: Notation, activation: Activation, text: str) -> str:
    return text if activation == "identity" else f"{notation.call.format(activation)}({text})"
