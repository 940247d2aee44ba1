from __future__ import annotations

import re
from typing import get_args

import pytest

from child.recurrent.node import Activation, Combination, Node


def test_nodes_print_differently():
    nodes = [Node(c, a) for c in get_args(Combination) for a in get_args(Activation)]

    assert len({str(node) for node in nodes}) == len(nodes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("sub", "tanh"), "combination='sub': must be one of add, elem_mult, max"),
        (("add", "gelu"), "activation='gelu': must be one of identity, tanh, sigmoid, relu, sin"),
    ],
)
def test_name_that_does_not_exist_is_refused_with_those_that_do(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Node(*given)


@pytest.mark.parametrize(
    ("data", "named"),
    [({}, "nothing"), ({"combination": "add", "act": "tanh"}, "act, combination")],
)
def test_json_of_something_else_is_no_node(data, named):
    with pytest.raises(ValueError, match=f"a node with {named}: must have activation, combination"):
        Node.from_json(data)
