from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from support.cells import FIGURE_5, fill, numbers, random_cell

from child.recurrent.cell import RecurrentCell
from child.recurrent.equations import equations
from child.recurrent.node import Node
from child.zoo import NAS_CELL


def evaluated(text, module, x, h, c):
    """Compute printed equations as the Python they nearly are; x, h and c are vectors."""
    size = module.hidden_size
    names = {
        "W": module.weight_ih.unflatten(0, (-1, size)),
        "U": module.weight_hh.unflatten(0, (-1, size)),
        "x": x,
        "h": h,
        "c": c,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "relu": torch.relu,
        "sin": torch.sin,
        "max": torch.maximum,
    }
    python = re.sub(r"\b([WU])(\d+) ([xh])\b", r"\1[\2] @ \3", text).replace("'", "_new")
    exec(python, names)
    return names["h_new"], names["c_new"]


@pytest.mark.parametrize("seed", range(60))
def test_equations_compute_what_the_cell_computes(seed):
    module = RecurrentCell(random_cell(seed, 1 + seed % 9), 3, 2, dtype=torch.float64)
    fill(module, seed)
    x, h, c = numbers(seed, 3), numbers(seed + 1, 2), numbers(seed + 2, 2)

    found = evaluated(equations(module.architecture), module, x, h, c)

    torch.testing.assert_close(found, module(x, (h, c)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("memory_index", "inject_index"), [(m, i) for m in range(3) for i in range(3)]
)
@pytest.mark.parametrize("activation", ["identity", "sin"])
@pytest.mark.parametrize("combination", ["add", "elem_mult", "max"])
def test_equations_hold_for_every_pair_of_indices(
    memory_index, inject_index, activation, combination
):
    node = Node(combination, activation)
    cell = replace(
        FIGURE_5, nodes=(node,) * 3, memory_index=memory_index, inject_index=inject_index
    )
    for inject in (Node("elem_mult", "identity"), Node("max", "tanh")):
        module = RecurrentCell(replace(cell, inject=inject), 3, 2, dtype=torch.float64)
        x, h, c = numbers(0, 3), numbers(1, 2), numbers(2, 2)

        found = evaluated(equations(module.architecture), module, x, h, c)

        torch.testing.assert_close(found, module(x, (h, c)), rtol=1e-12, atol=1e-12)


def test_equations_of_the_found_cell_read_as_the_paper_has_them():
    assert equations(NAS_CELL).splitlines() == [
        "a0  = sigmoid(W0 x + U0 h)",
        "a1  = relu(W1 x + U1 h)",
        "a2  = sigmoid(W2 x + U2 h)",
        "a3  = relu((W3 x) * (U3 h))",
        "a4  = tanh(W4 x + U4 h)",
        "a5  = sigmoid(W5 x + U5 h)",
        "a6  = tanh(W6 x + U6 h)",
        "a7  = sigmoid(W7 x + U7 h)",
        "a8  = tanh(tanh(a0 * a1) + c)",
        "a9  = tanh(a2 + a3)",
        "a10 = tanh(a4 * a5)",
        "a11 = sigmoid(a6 + a7)",
        "c'  = a8 * a9",
        "a13 = tanh(a10 + a11)",
        "h'  = tanh(c' * a13)",
    ]
