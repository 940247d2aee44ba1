from __future__ import annotations

import re

import pytest

from child.space import Decision
from child.writing import architecture_of, decision_after

TYPE, SIZE = Decision("type", 2), Decision("size", 3)


def write():
    """Decide a type, and of type 1 a size as well."""
    kind = yield TYPE
    if kind == 0:
        return "plain"
    return f"size {(yield SIZE)}"


def write_nothing():
    return "fixed"
    yield


@pytest.mark.parametrize(
    ("choices", "decision"), [((), TYPE), ((0,), None), ((1,), SIZE), ((1, 2), None)]
)
def test_decision_after_choices_is_the_one_the_writing_waits_at(choices, decision):
    assert decision_after(write(), choices) == decision


def test_architecture_is_what_the_writing_returns():
    assert architecture_of(write(), (0,), "here") == "plain"
    assert architecture_of(write(), (1, 2), "here") == "size 2"


def test_writing_that_decides_nothing_has_one_architecture():
    assert decision_after(write_nothing(), ()) is None
    assert architecture_of(write_nothing(), (), "here") == "fixed"
    with pytest.raises(
        ValueError, match=r"^1 choices: must be 0 here, for nothing more is decided"
    ):
        architecture_of(write_nothing(), (0,), "here")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((), "0 choices: must go on with type here"),
        ((1,), "1 choices: must go on with size here"),
        ((0, 0), "2 choices: must be 1 here, for nothing more is decided"),
        ((2,), "choices[0]=2: type has the choices 0 to 1"),
        ((1, -1), "choices[1]=-1: size has the choices 0 to 2"),
    ],
)
def test_list_that_is_not_complete_or_not_possible_is_refused(choices, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        architecture_of(write(), choices, "here")
