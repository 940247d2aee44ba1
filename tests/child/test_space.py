"""The laws of a space, which stand in `child.space.Space`, by writing out small spaces."""

from __future__ import annotations

import json

import pytest
from support.spaces import ChainSpace, ConditionalSpace, all_lists

from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
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
    pytest.param(ChainSpace({"color": 2, "shape": 3}), 2, 6**2, id="chain, 2 layers"),
    pytest.param(ConditionalSpace(), 1, 10, id="conditional, 1 layer"),
    pytest.param(ConditionalSpace(), 3, 10**3, id="conditional, 3 layers"),
]


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
