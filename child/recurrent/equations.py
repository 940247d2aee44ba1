"""A recurrent cell as equations that a person can read."""

from __future__ import annotations

import re

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Activation, Combination


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
    lines: list[tuple[str, str]] = []
    outputs: list[str] = []  # for each node, the name that its parent uses
    for index, node in enumerate(cell.nodes):
        if index < cell.base:
            value = _combined(node.combination, f"W{index} x", f"U{index} h")
        else:
            left, right = cell.children(index)
            value = _combined(node.combination, outputs[left], outputs[right])
        if index == cell.memory_index:
            lines.append(("c'", value))
            value = "c'"
        value = _activated(node.activation, value)
        if index == cell.inject_index:
            injected = _combined(cell.inject.combination, value, "c")
            value = _activated(cell.inject.activation, injected)
        name = "h'" if index == len(cell.nodes) - 1 else f"a{index}"
        if value == "c'" and name != "h'":
            name = "c'"
        else:
            lines.append((name, value))
        outputs.append(name)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}} = {value}" for name, value in lines)


def _combined(combination: Combination, one: str, other: str) -> str:
    match combination:
        case "add":
            return f"{one} + {other}"
        case "elem_mult":
            return f"{_factor(one)} * {_factor(other)}"
        case "max":
            return f"max({one}, {other})"


def _factor(text: str) -> str:
    is_name_or_call = " " not in text or re.match(r"\w+\(", text)
    return text if is_name_or_call else f"({text})"


def _activated(activation: Activation, text: str) -> str:
    return text if activation == "identity" else f"{activation}({text})"
