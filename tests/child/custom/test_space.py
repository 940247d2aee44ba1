"""A space of the user's: its laws are looked after, and its errors are told in words."""

from __future__ import annotations

import enum
import pickle
from dataclasses import dataclass
from typing import ClassVar

import pytest

from child.custom.choice_space import ChoiceSpace
from child.custom.failure import Failure
from child.custom.space import (
    MAX_DECISIONS,
    CustomArchitecture,
    CustomSpace,
    SpaceError,
    Undecodable,
)
from child.result import Infeasible
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
        (Decision("other", 2), "next_decision gave Decision(kind='other', num_choices=2): must be"),
        (Decision("units", 3), "next_decision gave Decision(kind='units', num_choices=3): must be"),
        ("units", "next_decision gave units: must be None, or one of its decisions, "),
        (AnchorDecision(0), "there is an anchor point: the space must have has_anchors = True"),
    ],
)
def test_a_list_ends_at_a_decision_that_was_not_declared(given, said):
    class Odd(One):
        def next_decision(self, choices, depth):
            return given

    space = CustomSpace(Odd(), "space=odd")

    assert space.next_decision([1], 2) is None
    architecture = space.decode([1], 2)
    assert isinstance(architecture, Undecodable)
    assert said in architecture.failure.traceback
    # At another depth it may be another list.
    assert space.decode([1], 1).to_json() == {"architecture": {"units": 8, "inputs": [0, 1]}}


def test_a_list_ends_where_the_space_raises_an_error_and_is_told_by_it():
    class Odd(One):
        def write(self, choose):
            if choose("units") == 8:
                return {}["next"]
            return [choose("units")]

    space = CustomSpace(Odd(), "space=odd")

    assert space.next_decision([0], 1) == Decision("units", 2)
    assert space.next_decision([1], 1) is None
    architecture = space.decode([1], 1)
    assert architecture.failure.reason.startswith("KeyError: 'next' (test_space.py, line ")
    assert space.decode([0, 1], 1).value == [8]


def test_an_architecture_that_the_space_refuses_has_its_reason_and_no_traceback():
    class Choosy(One):
        def write(self, choose):
            if choose("units") == 8:
                raise Infeasible("too wide")
            return 4

    space = CustomSpace(Choosy(), "space=choosy")

    assert space.next_decision([1], 1) is None
    refused = space.decode([1], 1)
    assert (refused.is_refused, refused.failure) == (True, Failure("too wide", ""))


def test_sys_exit_in_a_space_is_an_error_like_others():
    class Leaving(One):
        def write(self, choose):
            raise SystemExit(3)

    architecture = CustomSpace(Leaving(), "space=leaving").decode([1], 1)
    assert architecture.failure.reason.startswith("SystemExit: 3")


def test_a_list_without_an_end_ends():
    class Endless(One):
        def next_decision(self, choices, depth):
            return self.decisions[0]

    space = CustomSpace(Endless(), "space=endless")

    assert space.next_decision([0] * MAX_DECISIONS, 1) is not None
    assert space.next_decision([0] * (MAX_DECISIONS + 1), 1) is None
    said = space.decode([0] * (MAX_DECISIONS + 1), 1).failure.reason
    assert "a list has more than 2,000 choices, and no end" in said


class Kind(enum.StrEnum):
    UNITS = "units"


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({Kind.UNITS: [4, 8]}, "must be a plain text without dots"),
        ({"conv.size": [4, 8]}, "must be a plain text without dots"),
        ({"": [4, 8]}, "must be a plain text without dots"),
        ({3: [4, 8]}, "must be a plain text without dots"),
        ({"units": []}, "space=odd: units has 0 choices: must be at least 1"),
    ],
)
def test_kinds_are_plain_texts_with_something_to_choose(choices, said):
    class Odd(One):
        pass

    Odd.choices = choices
    with pytest.raises(SpaceError) as refusal:
        CustomSpace(Odd(), "space=odd")
    assert said in str(refusal.value)


def test_decisions_of_types_of_the_users_become_ours():
    class Mine(Decision):
        pass

    class Odd(One):
        @property
        def decisions(self):
            return (Mine("units", 2),)

        def next_decision(self, choices, depth):
            return self.decisions[0]

    space = CustomSpace(Odd(), "space=odd")

    assert type(space.decisions[0]) is Decision
    assert type(space.next_decision([], 1)) is Decision


class Unprintable:
    def to_json(self):
        return {}

    def __str__(self):
        raise RuntimeError("no words")


class Unpicklable:
    def to_json(self):
        return {}

    def __reduce__(self):
        raise TypeError("cannot travel")


@pytest.mark.parametrize(
    ("value", "said"), [(Unprintable(), "no words"), (Unpicklable(), "cannot travel")]
)
def test_what_cannot_travel_or_be_printed_cannot_be_decoded(value, said):
    class Odd(One):
        def write(self, choose):
            choose("units")
            return value

    architecture = CustomSpace(Odd(), "space=odd").decode([0], 1)

    assert isinstance(architecture, Undecodable)
    assert said in architecture.failure.reason


def test_what_is_no_space_is_refused():
    with pytest.raises(SpaceError, match="space=list: has no method next_decision"):
        CustomSpace([], "space=list")

    class Twice(One):
        decisions = (Decision("units", 2), Decision("units", 3))

    with pytest.raises(SpaceError, match="must be one for each kind"):
        CustomSpace(Twice(), "space=twice")
