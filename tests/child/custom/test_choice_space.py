"""A space that is written as a function, against the lists that it should have, written out."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
from support.spaces import LayersSpace, all_lists

from child.custom.choice_space import ChoiceSpace
from child.space import AnchorDecision, Decision


class Skips(ChoiceSpace):
    choices: ClassVar = {"type": ["a", "b"]}
    has_anchors = True

    def write(self, choose):
        return [(choose("type"), choose.anchors()) for _ in range(choose.depth)]


LAYER = [("narrow", False), ("wide", False), ("wide", True)]


def test_lists_are_those_of_the_function():
    space = LayersSpace()

    decoded = [space.decode(choices, 1) for choices in all_lists(space, 1)]

    layers = [[tuple(dict(layer).values()) for layer in each.layers] for each in decoded]
    assert sorted(layers) == sorted(
        [[one] for one in LAYER] + [[one, other] for one in LAYER for other in LAYER]
    )


def test_what_is_decided_depends_on_earlier_choices():
    space = LayersSpace()

    assert space.next_decision([], 1) == Decision("number", 2)
    assert space.next_decision([0, 0], 1) is None
    assert space.next_decision([0, 1], 1) == Decision("dropout", 2)
    assert space.next_decision([1, 1, 0], 1) == Decision("units", 2)


def test_anchor_points_pick_among_the_layers_before():
    space = Skips()

    assert space.next_decision([1, 0, 0], 3) == AnchorDecision(1)
    assert space.decode([1, 0, 0, 1, 0, 0b10], 3) == [("b", ()), ("a", (0,)), ("a", (1,))]
    assert len(list(all_lists(space, 3))) == 2 * 2 * 2 * (1 * 2 * 4)


def test_decisions_and_options_are_those_given():
    assert LayersSpace().decisions == (
        Decision("number", 2),
        Decision("units", 2),
        Decision("dropout", 2),
    )
    assert LayersSpace().options("units") == ["narrow", "wide"]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ([0], "1 choices: must go on with a decision on units"),
        ([0, 0, 1], "3 choices: must end 1 earlier"),
        ([0, 2], "choices[1]=2: must be at least 0 and below 2"),
        ([-1], "choices[0]=-1: must be at least 0"),
    ],
)
def test_lists_that_are_none_are_refused(choices, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        LayersSpace().decode(choices, 1)


def test_a_kind_that_is_not_declared_is_named_with_those_that_are():
    class Odd(ChoiceSpace):
        choices: ClassVar = {"a": [1, 2]}

        def write(self, choose):
            return choose("b")

    with pytest.raises(ValueError, match=r"choose\('b'\): must be one of a"):
        Odd().next_decision([], 1)


def test_a_function_that_catches_every_exception_still_asks():
    class Careless(ChoiceSpace):
        choices: ClassVar = {"a": [1, 2]}

        def write(self, choose):
            try:
                return choose("a")
            except Exception:  # noqa: BLE001 (what is tested)
                return None

    assert Careless().next_decision([], 1) == Decision("a", 2)


def test_positions_need_the_longest_list():
    assert list(LayersSpace().positions(1)) == [frozenset(LayersSpace().decisions)] * 5
    with pytest.raises(ValueError, match="longest: must be set"):
        Skips().positions(1)


def test_a_list_longer_than_the_longest_is_an_error():
    class Short(LayersSpace):
        longest = 4

    with pytest.raises(ValueError, match="longest=4: a list goes on after so many choices"):
        Short().next_decision([1, 1, 0, 1], 1)
    assert LayersSpace().next_decision([1, 1, 0, 1], 1) == Decision("dropout", 2)
