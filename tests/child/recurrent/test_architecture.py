from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from support.cells import FIGURE_5, random_cell

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Node

NODE = Node("add", "tanh")


@pytest.mark.parametrize("base", [1, 2, 3, 5, 8, 13, 64])
def test_nodes_form_a_tree_with_the_last_one_as_its_root(base):
    cell = random_cell(0, base)

    assert cell.base == base
    taken = [child for node in range(base, 2 * base - 1) for child in cell.children(node)]
    assert taken == list(range(2 * base - 2)), "each node but the root once, in order"
    assert all(max(cell.children(node)) < node for node in range(base, 2 * base - 1))


def test_tree_of_base_8_is_that_of_the_paper():
    cell = random_cell(0, 8)

    assert [cell.children(node) for node in range(8, 15)] == [
        (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "node", "message"),
    [
        (4, 3, "node=3: must be an inner node, 4 to 6"),
        (4, 7, "node=7: must be an inner node, 4 to 6"),
        (1, 0, "node=0: a cell with one leaf has no inner nodes"),
    ],
)
def test_children_of_what_is_no_inner_node_are_refused(base, node, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        random_cell(0, base).children(node)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": ()}, "0 nodes: must be an odd number; a cell with N leaves has 2N - 1"),
        ({"nodes": (NODE, NODE)}, "2 nodes: must be an odd number"),
        ({"memory_index": 3}, "memory_index=3: must be the number of a node, 0 to 2"),
        ({"inject_index": -1}, "inject_index=-1: must be the number of a node, 0 to 2"),
        ({"inject_index": 1.0}, "inject_index=1.0: must be the number of a node, 0 to 2"),
        ({"memory_index": True}, "memory_index=True: must be the number of a node, 0 to 2"),
    ],
)
def test_what_describes_no_cell_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        replace(FIGURE_5, **changes)


def test_both_indices_may_name_one_node_and_the_root():
    cell = replace(FIGURE_5, memory_index=2, inject_index=2)

    assert (cell.memory_index, cell.inject_index) == (2, 2)


@pytest.mark.parametrize(
    ("base", "levels"),
    [(1, [1]), (2, [2, 1]), (3, [3, 1, 1]), (5, [5, 2, 1, 1]), (8, [8, 4, 2, 1])],
)
def test_cell_prints_level_by_level(base, levels):
    tree, _, rest = str(random_cell(1, base)).partition("; ")

    assert [len(level.split(" ")) for level in tree.split(" | ")] == levels
    assert re.fullmatch(r"c' from \d+; \S+ c at \d+", rest)


def test_cell_of_figure_5_prints_as_one_line():
    assert str(FIGURE_5) == "tanh+ relu* | sigm*; c' from 1; relu+ c at 0"


def test_equal_cells_hash_equal():
    assert hash(random_cell(3, 8)) == hash(random_cell(3, 8))
    assert random_cell(3, 8) == random_cell(3, 8) != random_cell(4, 8)


@pytest.mark.parametrize("base", [1, 2, 8])
def test_cell_written_as_json_comes_back_equal(base):
    cell = random_cell(5, base)

    assert CellArchitecture.from_json(json.loads(json.dumps(cell.to_json()))) == cell


def test_cell_as_json_names_everything():
    assert FIGURE_5.to_json() == {
        "nodes": [
            {"combination": "add", "activation": "tanh"},
            {"combination": "elem_mult", "activation": "relu"},
            {"combination": "elem_mult", "activation": "sigmoid"},
        ],
        "inject": {"combination": "add", "activation": "relu"},
        "memory_index": 1,
        "inject_index": 0,
    }


def test_json_of_something_else_is_no_cell():
    with pytest.raises(ValueError, match="a cell with layers: must have inject, inject_index, mem"):
        CellArchitecture.from_json({"layers": []})
