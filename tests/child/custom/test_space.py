"""A space of the user's: its laws are looked after, and its errors are told in words."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import ClassVar

import pytest

from child.custom.choice_space import ChoiceSpace
from child.custom.space import (
    MAX_DECISIONS,
    CustomArchitecture,
    CustomSpace,
    SpaceError,
    Undecodable,
)
from child.space import AnchorDecision, Decision


@dataclass(frozen=True)
class Layer:
    units: int
    inputs: tuple[int, ...]


class One(ChoiceSpace):
    choices: ClassVar = {"units": [4, 8]}

    def write(self, choose):
        return Layer(choose("units"), (0, 1))


def test_an_architecture_reaches_the_trainer_as_it_is_and_the_ledger_as_json():
    architecture = CustomSpace(One(), "space=one").decode([1], 1)

    assert architecture.value == Layer(8, (0, 1))
    assert architecture.to_json() == {"architecture": {"units": 8, "inputs": [0, 1]}}
    assert str(architecture) == "Layer(units=8, inputs=(0, 1))"
    assert pickle.loads(pickle.dumps(architecture)) == architecture


def test_architectures_are_equal_by_what_they_say():
    one, same = CustomArchitecture.of({"a": 1, "b": 2}), CustomArchitecture.of({"b": 2, "a": 1})

    assert one == same
    assert hash(one) == hash(same)
    assert one != CustomArchitecture.of({"a": 1, "b": 3})


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), [Layer]])
def test_what_json_cannot_hold_cannot_be_decoded(value):
    class Odd(One):
        def write(self, choose):
            choose("units")
            return value

    architecture = CustomSpace(Odd(), "space=odd").decode([0], 1)

    assert isinstance(architecture, Undecodable)
    assert architecture.to_json() == {"undecodable": [0]}


def test_an_error_in_decoding_is_kept_with_the_users_line():
    class Odd(One):
        def write(self, choose):
            return [1][choose("units")]

    architecture = CustomSpace(Odd(), "space=odd").decode([1], 1)

    assert isinstance(architecture, Undecodable)
    assert architecture.failure.reason.startswith("IndexError: list index out of range (test_space")
    assert "return [1][choose" in architecture.failure.traceback


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Decision("other", 2), "must be None, or one of its decisions, "),
        (Decision("units", 3), "must be None, or one of its decisions, "),
        ("units", "must be None, or one of its decisions, "),
        (AnchorDecision(0), "or an anchor point if it has_anchors"),
    ],
)
def test_a_decision_that_was_not_declared_is_refused(given, said):
    class Odd(One):
        def next_decision(self, choices, depth):
            return given

    with pytest.raises(SpaceError) as refusal:
        CustomSpace(Odd(), "space=odd").next_decision([], 2)
    assert str(refusal.value).startswith("space=odd: next_decision([], depth=2) gave ")
    assert said in str(refusal.value)


def test_errors_of_the_space_are_told_by_the_call():
    class Odd(One):
        def next_decision(self, choices, depth):
            return {}["next"]

    with pytest.raises(SpaceError, match=r"space=odd: next_decision\(\[0\], depth=1\) raised KeyE"):
        CustomSpace(Odd(), "space=odd").next_decision([0], 1)


def test_a_list_without_an_end_is_refused():
    class Endless(One):
        def next_decision(self, choices, depth):
            return self.decisions[0]

    with pytest.raises(SpaceError, match="has more than 10,000 choices, and no end"):
        CustomSpace(Endless(), "space=endless").next_decision([0] * (MAX_DECISIONS + 1), 1)


def test_what_is_no_space_is_refused():
    with pytest.raises(SpaceError, match="space=list: has no method next_decision"):
        CustomSpace([], "space=list")

    class Twice(One):
        decisions = (Decision("units", 2), Decision("units", 3))

    with pytest.raises(SpaceError, match="must be one for each kind"):
        CustomSpace(Twice(), "space=twice")
