from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.cells import ACTIVATIONS, COMBINATIONS, FIGURE_5, random_cell
from support.spaces import all_lists

from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Node
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings
from child.space import Decision, Space


def make_space(base, combinations=("add", "elem_mult"), activations=("tanh", "relu")):
    return RecurrentSpace(
        RecurrentSettings(base=base, combinations=combinations, activations=activations)
    )


def steps(space, base):
    """Give the decisions of a list; in this space they do not depend on the choices."""
    found = []
    while (decision := space.next_decision([0] * len(found), base)) is not None:
        found.append(decision)
    return found


PAPER: Space = RecurrentSpace(RecurrentSettings())
LISTS = st.tuples(*(st.integers(0, decision.num_choices - 1) for decision in steps(PAPER, 8)))

# A space, its base, and the number of cells, counted by hand.
SMALL_SPACES = [
    pytest.param(RecurrentSpace(RecurrentSettings(base=1)), 1, 8 * 8, id="paper, base 1"),
    pytest.param(make_space(1, COMBINATIONS, ACTIVATIONS), 1, 15 * 15, id="control, base 1"),
    pytest.param(make_space(1, ("max",), ("sin",)), 1, 1, id="no choice"),
    pytest.param(make_space(2, ("add",), ("tanh", "sin")), 2, 2**4 * 9, id="2 activations, base 2"),
    pytest.param(make_space(2, ("add", "max"), ("tanh",)), 2, 2**4 * 9, id="2 combinations"),
    pytest.param(make_space(3, ("add",), ("tanh",)), 3, 25, id="indices alone, base 3"),
]


def test_settings_by_default_are_those_of_the_paper():
    assert RecurrentSettings().model_dump() == {
        "base": 8,
        "combinations": ("add", "elem_mult"),
        "activations": ("identity", "tanh", "sigmoid", "relu"),
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"base": 0}, "base"),
        ({"base": 65}, "base"),
        ({"base": "8"}, "base"),
        ({"combinations": ()}, "combinations"),
        ({"combinations": ("add", "sub")}, "combinations.1"),
        ({"activations": ()}, "activations"),
        ({"activations": ("tanh", "relu", "tanh")}, "every choice must stand there once"),
        ({"combinations": ("add", "add")}, "every choice must stand there once"),
        ({"activation": ("tanh",)}, "activation\n.*not permitted"),
    ],
)
def test_settings_that_make_no_space_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        RecurrentSettings(**given)


def test_lists_from_a_file_become_tuples():
    read = RecurrentSettings(**json.loads('{"activations": ["sin"], "combinations": ["max"]}'))

    assert (read.activations, read.combinations) == (("sin",), ("max",))


# --- The order of the decisions.


def test_cell_of_base_8_takes_34_decisions_in_the_order_of_the_paper():
    kinds = [decision.kind for decision in steps(PAPER, 8)]

    assert (
        kinds
        == ["combination", "activation"] * 15 + ["combination", "activation"] + ["cell_index"] * 2
    )
    assert len(kinds) == 34
    assert PAPER.decisions == (
        Decision("combination", 2),
        Decision("activation", 4),
        Decision("cell_index", 15),
    )
    assert not PAPER.has_anchors


def test_what_has_one_option_is_not_decided():
    space = make_space(2, combinations=("max",))

    assert [decision.kind for decision in steps(space, 2)] == ["activation"] * 4 + [
        "cell_index"
    ] * 2
    assert "combination" not in {decision.kind for decision in space.decisions}


def test_only_node_of_base_1_is_not_chosen():
    assert [decision.kind for decision in steps(make_space(1), 1)] == [
        "combination", "activation", "combination", "activation",
    ]  # fmt: skip


def test_depth_that_is_not_the_base_is_refused():
    with pytest.raises(ValueError, match=r"^depth=6: must be 8, the base of all cells of this "):
        PAPER.next_decision([], 6)
    with pytest.raises(ValueError, match=r"^depth=9: must be 8, the base of all cells of this "):
        PAPER.decode([0] * 34, 9)


# --- What choices stand for.


def test_choices_of_figure_5_are_decoded_to_its_cell():
    space = RecurrentSpace(RecurrentSettings(base=2))

    # add, tanh, elem_mult, relu, elem_mult, sigmoid, add, relu, 1, 0
    choices = (0, 1, 1, 3, 1, 2, 0, 3, 1, 0)

    assert space.decode(choices, 2) == FIGURE_5
    assert space.encode(FIGURE_5) == choices


@settings(deadline=None)
@given(LISTS)
def test_decoded_list_is_encoded_as_itself(choices):
    assert PAPER.encode(PAPER.decode(choices, 8)) == choices


@pytest.mark.parametrize("base", [1, 2, 3, 5, 8, 64])
def test_encoded_cell_is_decoded_as_itself(base):
    space = make_space(base, COMBINATIONS, ACTIVATIONS)
    cell = random_cell(base, base)

    assert space.decode(space.encode(cell), base) == cell


@pytest.mark.parametrize(("space", "base", "num_architectures"), SMALL_SPACES)
def test_all_lists_are_as_many_as_counted_and_stand_for_different_cells(
    space, base, num_architectures
):
    lists = list(all_lists(space, base))
    cells = [space.decode(choices, base) for choices in lists]

    assert space.num_architectures == len(lists) == num_architectures
    assert [space.encode(cell) for cell in cells] == lists
    assert len(set(cells)) == num_architectures
    assert len({str(cell) for cell in cells}) == num_architectures
    assert len({json.dumps(cell.to_json()) for cell in cells}) == num_architectures


def test_space_of_the_paper_has_as_many_cells_as_it_says():
    assert PAPER.num_architectures == 8**16 * 15**2
    assert f"{PAPER.num_architectures:.0e}" == "6e+16"


# --- What is no list of choices, and no cell.


@pytest.mark.parametrize(("space", "base", "num_architectures"), SMALL_SPACES)
def test_list_cut_short_or_going_on_is_refused(space, base, num_architectures):
    complete = [0] * len(steps(space, base))

    for end in range(len(complete)):
        with pytest.raises(ValueError, match=f"^{end} choices: must go on with "):
            space.decode(complete[:end], base)
    with pytest.raises(ValueError, match=f"{len(complete) + 1} choices: must be {len(complete)} "):
        space.decode([*complete, 0], base)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([2], "choices[0]=2: combination has the choices 0 to 1"),
        ([0, -1], "choices[1]=-1: activation has the choices 0 to 3"),
        ([0] * 33 + [15], "choices[33]=15: cell_index has the choices 0 to 14"),
    ],
)
def test_choice_that_does_not_exist_is_refused_with_those_that_do(choices, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PAPER.decode(choices, 8)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (FIGURE_5, "base=2: must be 8, the base of all cells of this space"),
        (
            CellArchitecture((Node("max", "tanh"),) * 15, Node("add", "tanh"), 0, 0),
            "combination='max': must be one of add, elem_mult in this space",
        ),
        (
            CellArchitecture((Node("add", "tanh"),) * 15, Node("add", "sin"), 0, 0),
            "activation='sin': must be one of identity, tanh, sigmoid, relu in this space",
        ),
    ],
)
def test_cell_outside_the_space_is_not_encoded(cell, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PAPER.encode(cell)


def test_options_are_what_the_choices_stand_for():
    space = make_space(2, activations=("tanh", "sin", "relu"))
    assert list(space.options("activation")) == ["tanh", "sin", "relu"]
    assert list(space.options("cell_index")) == [0, 1, 2]
    with pytest.raises(KeyError):
        make_space(2, combinations=("add",)).options("combination")
