"""The laws of a space, which stand in `child.space.Space`, by writing out small spaces."""

from __future__ import annotations

import contextlib
import json
from functools import partial

import pytest
from support.spaces import ChainSpace, ConditionalSpace, LayersSpace, all_lists

from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings
from child.space import AnchorDecision, Decision, Space


def convolutional(heights, widths, filters, **settings):
    return ConvolutionalSpace(
        ConvolutionalSettings(
            filter_heights=heights,
            filter_widths=widths,
            num_filters=filters,
            **{"skip_connections": False} | settings,
        )
    )


def recurrent(base, combinations=("add",), activations=("tanh",)):
    return RecurrentSpace(
        RecurrentSettings(base=base, combinations=combinations, activations=activations)
    )


ONE = ((3,), (3,), (4,))  # nothing to decide of a convolution
TYPES = ("convolution", "max_pooling", "average_pooling", "batch_norm", "contrast_norm")


# A space, a depth, and the number of architectures there are of that depth.
SMALL_SPACES = [
    pytest.param(ConvolutionalSpace(ConvolutionalSettings()), 1, 64, id="paper, 1 layer"),
    pytest.param(convolutional((1, 3, 5), (1, 3), (4, 8)), 2, 12**2, id="3x2x2, 2 layers"),
    pytest.param(convolutional((1, 3), (5,), (4, 8, 6)), 1, 6, id="2x1x3, 1 layer"),
    pytest.param(convolutional((1, 3), (5,), (4, 8, 6)), 3, 6**3, id="2x1x3, 3 layers"),
    pytest.param(convolutional(*ONE), 5, 1, id="no choice, 5 layers"),
    # The anchor point of layer i has i - 1 bits, or i - 2 where the one before is always taken.
    pytest.param(convolutional(*ONE, skip_connections=True), 4, 2**6, id="skips, 4 layers"),
    pytest.param(
        convolutional((1, 3), (5,), (4, 8), skip_connections=True), 3, 4**3 * 2**3, id="skips, 2x2"
    ),
    pytest.param(
        convolutional(*ONE, skip_connections=True, is_chained=True), 5, 2**6, id="chained, 5 layers"
    ),
    pytest.param(
        convolutional(*ONE, stride_heights=(1, 2, 3), stride_widths=(1, 2)), 3, 6**3, id="strides"
    ),
    # A convolution, 2 * 2 windows and strides of each pooling, and the two that have no size.
    pytest.param(convolutional(*ONE, layer_types=TYPES), 2, (1 + 4 + 4 + 2) ** 2, id="types"),
    pytest.param(
        convolutional(*ONE, layer_types=TYPES[:4:3], skip_connections=True),
        3,
        2**3 * 2**3,
        id="types and skips",
    ),
    pytest.param(convolutional(*ONE, learning_rates=(0.1, 0.05, 0.01)), 2, 3, id="learning rate"),
    pytest.param(
        convolutional(
            (1, 3),
            (3,),
            (4,),
            skip_connections=True,
            block_size=3,
            pooled_after=(2, 5),
            extra_filters=5,
        ),
        3,
        2**3 * 2**3,
        id="blocks, pooled",
    ),
    pytest.param(
        convolutional(
            (1, 3),
            (3,),
            (4,),
            layer_types=("batch_norm", "convolution", "max_pooling"),
            learning_rates=(0.1, 0.05),
        ),
        2,
        (1 + 2 + 4) ** 2 * 2,
        id="types and learning rate",
    ),
    # Every node and the injection have both, and there are as many of each index as nodes.
    pytest.param(RecurrentSpace(RecurrentSettings(base=1)), 1, 8**2, id="paper's cells, base 1"),
    pytest.param(recurrent(2, ("add", "max")), 2, 2**4 * 3**2, id="combinations, base 2"),
    pytest.param(recurrent(3), 3, 5**2, id="indices alone, base 3"),
    pytest.param(ChainSpace({"color": 2, "shape": 3}), 2, 6**2, id="chain, 2 layers"),
    pytest.param(ConditionalSpace(), 1, 10, id="conditional, 1 layer"),
    pytest.param(LayersSpace(), 1, 3 + 3**2, id="written as a function"),
    pytest.param(ConditionalSpace(), 3, 10**3, id="conditional, 3 layers"),
]
# These toy spaces say more of their positions than can be met.
EXACT_SPACES = [
    small
    for small in SMALL_SPACES
    if not isinstance(small.values[0], ConditionalSpace | LayersSpace)
]


def is_taken(space, depth):
    try:
        space.next_decision((), depth)
    except ValueError:
        return False
    return True


def met_up_to(space, depth):
    """Give what stands at each step of every list up to that depth, anchor points as they are."""
    met: list[set[Decision | AnchorDecision]] = []
    for taken in filter(lambda d: is_taken(space, d), range(1, depth + 1)):
        for choices in all_lists(space, taken):
            met += [set() for _ in choices[len(met) :]]
            for step in range(len(choices)):
                met[step].add(space.next_decision(choices[:step], taken))
    return met


@pytest.mark.parametrize(("space", "depth", "num_architectures"), SMALL_SPACES)
class TestSpace:
    def test_complete_lists_are_as_many_as_the_choices_allow(
        self, space: Space, depth: int, num_architectures: int
    ):
        assert len(list(all_lists(space, depth))) == num_architectures

    def test_complete_lists_that_differ_give_architectures_that_differ(
        self, space: Space, depth: int, num_architectures: int
    ):
        architectures = [space.decode(choices, depth) for choices in all_lists(space, depth)]

        assert len(set(architectures)) == num_architectures
        assert len({str(architecture) for architecture in architectures}) == num_architectures
        assert len({json.dumps(a.to_json()) for a in architectures}) == num_architectures

    def test_complete_list_decoded_twice_gives_equal_architectures(
        self, space: Space, depth: int, num_architectures: int
    ):
        for choices in all_lists(space, depth):
            one, other = space.decode(choices, depth), space.decode(list(choices), depth)
            assert one == other
            assert hash(one) == hash(other)

    def test_next_decision_asked_again_is_the_same_whatever_was_asked_between(
        self, space: Space, depth: int, num_architectures: int
    ):
        prefixes = {
            choices[:end] for choices in all_lists(space, depth) for end in range(len(choices) + 1)
        }
        first = {prefix: space.next_decision(prefix, depth) for prefix in prefixes}
        with contextlib.suppress(ValueError):  # of a space that takes this depth alone
            space.next_decision((), depth + 1)
        again = {p: space.next_decision(list(p), depth) for p in sorted(prefixes, reverse=True)}

        assert again == first

    def test_next_decision_is_one_of_the_decisions(
        self, space: Space, depth: int, num_architectures: int
    ):
        for choices in all_lists(space, depth):
            met = {space.next_decision(choices[:end], depth) for end in range(len(choices))}
            by_softmax = {decision for decision in met if not isinstance(decision, AnchorDecision)}
            assert by_softmax <= set(space.decisions)

    def test_positions_hold_every_decision_by_softmax_that_is_met_there(
        self, space: Space, depth: int, num_architectures: int
    ):
        positions, met = space.positions(depth), met_up_to(space, depth)

        assert len(positions) == len(met)
        for at_step, met_there in zip(positions, met, strict=True):
            by_softmax = {decision for decision in met_there if isinstance(decision, Decision)}
            assert by_softmax <= at_step <= set(space.decisions)

    def test_depth_that_is_not_taken_is_refused_by_every_method(
        self, space: Space, depth: int, num_architectures: int
    ):
        whole = next(all_lists(space, depth))
        for other in (d for d in range(1, depth + 3) if not is_taken(space, d)):
            for asked in (space.positions, partial(space.decode, whole)):
                with pytest.raises(ValueError, match=f"depth={other}: must be {depth}"):
                    asked(other)

    def test_anchor_points_pick_among_those_before(
        self, space: Space, depth: int, num_architectures: int
    ):
        for choices in all_lists(space, depth):
            decisions = [space.next_decision(choices[:end], depth) for end in range(len(choices))]
            anchors = [d for d in decisions if isinstance(d, AnchorDecision)]
            assert len(anchors) == depth * space.has_anchors
            assert all(anchor.num_earlier <= before for before, anchor in enumerate(anchors))

    def test_decisions_have_one_for_each_kind_with_something_to_choose(
        self, space: Space, depth: int, num_architectures: int
    ):
        kinds = [decision.kind for decision in space.decisions]

        assert len(set(kinds)) == len(kinds)
        assert all(decision.num_choices >= 1 for decision in space.decisions)
        assert "anchor" not in kinds

    def test_options_are_one_for_each_choice(
        self, space: Space, depth: int, num_architectures: int
    ):
        for decision in space.decisions:
            options = space.options(decision.kind)
            assert len(set(options)) == len(options) == decision.num_choices
        with pytest.raises(KeyError):
            space.options("colour")

    def test_decisions_all_occur(self, space: Space, depth: int, num_architectures: int):
        met = {
            space.next_decision(choices[:end], depth)
            for choices in all_lists(space, depth)
            for end in range(len(choices))
        }

        assert {d for d in met if isinstance(d, Decision)} == set(space.decisions)

    def test_list_cut_short_is_refused(self, space: Space, depth: int, num_architectures: int):
        for choices in all_lists(space, depth):
            for end in range(len(choices)):
                with pytest.raises(ValueError, match=f"^{end} choices: must "):
                    space.decode(choices[:end], depth)

    def test_list_that_goes_on_is_refused(self, space: Space, depth: int, num_architectures: int):
        for choices in all_lists(space, depth):
            with pytest.raises(ValueError, match="choices"):
                space.decode((*choices, 0), depth)

    def test_choice_that_does_not_exist_is_refused(
        self, space: Space, depth: int, num_architectures: int
    ):
        for choices in all_lists(space, depth):
            for step in range(len(choices)):
                decision = space.next_decision(choices[:step], depth)
                assert decision is not None
                for wrong in (-1, decision.num_choices):
                    with pytest.raises(ValueError, match=rf"choices\[{step}\]={wrong}: "):
                        space.decode((*choices[:step], wrong, *choices[step + 1 :]), depth)


@pytest.mark.parametrize(("space", "depth", "num_architectures"), EXACT_SPACES)
def test_positions_hold_nothing_that_is_never_met(space: Space, depth: int, num_architectures: int):
    for at_step, met_there in zip(space.positions(depth), met_up_to(space, depth), strict=True):
        assert at_step <= met_there


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_spaces_other_than_of_cells_take_every_depth(depth):
    spaces = [small.values[0] for small in SMALL_SPACES]

    refused = {type(space) for space in spaces if not is_taken(space, depth)}

    assert refused == {RecurrentSpace}
