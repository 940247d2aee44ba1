"""On which side skip connections run, and where they end."""

from __future__ import annotations

from itertools import combinations

import pytest

from deploy.drawings.arcs import LEFT, RIGHT, arcs

# All there can be between 16 layers, but for the chain.
EVERY_SKIP = [(a, b) for a, b in combinations(range(16), 2) if b - a > 1]


def test_every_connection_is_there_once():
    assert [(arc.source, arc.target) for arc in arcs(EVERY_SKIP)] == sorted(EVERY_SKIP)


@pytest.mark.parametrize("late", [(18, 21), (28, 31)], ids=["below", "above"])
def test_two_that_would_cross_are_on_different_sides(late):
    # The one that is crossed is on the side that carries less.
    long, crossed = (0, 10), (20, 29)
    sides = {(arc.source, arc.target): arc.side for arc in arcs([long, crossed, late])}

    assert sides[long] != sides[crossed]
    assert sides[late] != sides[crossed]


def test_both_sides_carry_about_as_much():
    lengths = {
        side: sum(a.target - a.source for a in arcs(EVERY_SKIP) if a.side == side)
        for side in (LEFT, RIGHT)
    }
    assert 0.5 < lengths[LEFT] / lengths[RIGHT] < 2


def test_each_end_has_a_place_of_its_own():
    ends = [
        end
        for arc in arcs(EVERY_SKIP)
        for end in ((arc.source, arc.side, arc.leaves), (arc.target, arc.side, arc.arrives))
    ]
    assert len(set(ends)) == len(ends)
    assert all(0 < height < 1 for _, _, height in ends)


def test_those_with_an_end_in_common_do_not_cross():
    for one, other in combinations(arcs(EVERY_SKIP), 2):
        spans = [one.target - one.source, other.target - other.source]
        if one.side != other.side:
            continue
        if one.source == other.source:
            assert (one.leaves > other.leaves) == (spans[0] < spans[1])
        if one.target == other.target:
            assert (one.arrives < other.arrives) == (spans[0] < spans[1])
        if one.target == other.source:
            assert one.arrives < other.leaves
