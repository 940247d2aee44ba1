"""Cells drawn in the manner of Figure 8."""

from __future__ import annotations

import pytest
from support.drawings import Svg

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Node
from child.zoo import NAS_CELL

ADD = Node("add", "tanh")
# The example of the paper's Figure 5.
FIGURE_5 = CellArchitecture(
    (ADD, Node("elem_mult", "relu"), Node("elem_mult", "sigmoid")), Node("add", "relu"), 1, 0
)
NAS_CELL_EDGES = {
    "edge-x-0", "edge-x-1", "edge-x-2", "edge-x-3", "edge-x-4", "edge-x-5", "edge-x-6", "edge-x-7",
    "edge-h-0", "edge-h-1", "edge-h-2", "edge-h-3", "edge-h-4", "edge-h-5", "edge-h-6", "edge-h-7",
    "edge-0-8", "edge-1-8", "edge-2-9", "edge-3-9", "edge-4-10", "edge-5-10", "edge-6-11",
    "edge-7-11", "edge-8-inject", "edge-c-inject", "edge-inject-12", "edge-9-12", "edge-10-13",
    "edge-11-13", "edge-12-14", "edge-13-14", "edge-12-c_t", "edge-14-h_t",
}  # fmt: skip
FIGURE_5_EDGES = {
    "edge-x-0", "edge-h-0", "edge-x-1", "edge-h-1", "edge-0-inject", "edge-c-inject",
    "edge-inject-2", "edge-1-2", "edge-1-c_t", "edge-2-h_t",
}  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "edges"),
    [(NAS_CELL, NAS_CELL_EDGES), (FIGURE_5, FIGURE_5_EDGES)],
    ids=["nas-cell", "figure-5"],
)
def test_cell_has_the_lines_of_its_tree(cell, edges, tmp_path):
    assert Svg.of(cell, tmp_path).ids("edge") == edges


def test_injection_at_the_root_gives_h(tmp_path):
    cell = CellArchitecture((ADD,), ADD, 0, 0)

    assert Svg.of(cell, tmp_path).ids("edge") == {
        "edge-x-0", "edge-h-0", "edge-0-inject", "edge-c-inject", "edge-0-c_t", "edge-inject-h_t",
    }  # fmt: skip


def test_nodes_say_what_they_do(tmp_path):
    svg = Svg.of(FIGURE_5, tmp_path)

    names = [word for word in svg.words if word.replace("_", "").isalpha()]
    assert names == ["add", "tanh", "elem_mult", "relu", "elem_mult", "sigmoid", "add", "relu"]
    assert svg.ids("combination") == {f"combination-{n}" for n in (0, 1, 2, "inject")}


def test_every_operation_has_a_colour_of_its_own(tmp_path):
    nodes = (
        Node("add", "identity"), Node("elem_mult", "tanh"), Node("max", "sigmoid"),
        Node("max", "relu"), Node("max", "sin"),
    )  # fmt: skip
    svg = Svg.of(CellArchitecture(nodes, ADD, 0, 0), tmp_path)

    assert len({svg.style(f"combination-{n}") for n in range(3)}) == 3
    assert len({svg.style(f"activation-{n}") for n in range(5)}) == 5


@pytest.mark.parametrize("base", range(1, 12))
def test_lines_of_a_tree_do_not_cross(base, tmp_path):
    cell = CellArchitecture((ADD,) * (2 * base - 1), ADD, 0, base // 2)
    svg = Svg.of(cell, tmp_path)

    for parent in range(base, 2 * base - 1):
        first, second = cell.children(parent)
        starts = []
        for child in (first, second):
            name = "inject" if child == base // 2 else child
            (x, y), (_, end) = svg.ends(f"edge-{name}-{parent}")
            assert end < y, "a node stands above those it takes"
            starts.append(x)
        assert starts[0] < starts[1]
    # What stands in one column of leaves is below one node alone: so no two lines can meet.
    spans = {leaf: {svg.ends(f"edge-x-{leaf}")[0][0]} for leaf in range(base)}
    for parent in range(base, 2 * base - 1):
        first, second = cell.children(parent)
        assert max(spans[first]) < min(spans[second])
        spans[parent] = spans[first] | spans[second]
        others = set().union(*(spans[leaf] for leaf in range(base))) - spans[parent]
        assert not any(min(spans[parent]) < x < max(spans[parent]) for x in others)
