from __future__ import annotations

import re

import pytest
from pydantic import ValidationError
from support.spaces import all_lists

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Layer, Pooling
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.space import AnchorDecision

TYPES = ("convolution", "max_pooling", "average_pooling", "batch_norm", "contrast_norm")


def make_space(**settings):
    small = {"filter_heights": (1, 3), "filter_widths": (5, 7), "num_filters": (4, 8, 6)}
    return ConvolutionalSpace(ConvolutionalSettings(**small | settings))


def kinds(space, depth, choices=None):
    """Give the kinds of the decisions of a list; the choices are 0 where none are given."""
    met = []
    while (decision := space.next_decision((choices or [0] * 100)[: len(met)], depth)) is not None:
        met.append(decision.kind)
    return met


def test_settings_by_default_are_those_of_the_paper_without_strides():
    assert ConvolutionalSettings().model_dump() == {
        "filter_heights": (1, 3, 5, 7),
        "filter_widths": (1, 3, 5, 7),
        "stride_heights": (1,),
        "stride_widths": (1,),
        "num_filters": (24, 36, 48, 64),
        "skip_connections": True,
        "is_chained": False,
        "layer_types": ("convolution",),
        "pool_sizes": (2, 3),
        "pool_strides": (1, 2),
        "learning_rates": (),
        "block_size": 1,
        "pooled_after": (),
        "extra_filters": 0,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filter_heights": ()}, "filter_heights"),
        ({"filter_widths": (3, 0)}, "filter_widths.1"),
        ({"num_filters": (24, 36, 24)}, "every choice must stand there once"),
        ({"num_filter": (24,)}, "num_filter\n.*not permitted"),
        ({"layer_types": ("dense",)}, "layer_types.0"),
        ({"learning_rates": (0.1, 0.0)}, "learning_rates.1"),
        ({"pooled_after": (24, 13)}, r"pooled_after=\[24, 13\]: must be numbers in ascending"),
        ({"skip_connections": False, "is_chained": True}, "is_chained=true and skip_connections="),
        (
            {"block_size": 3, "layer_types": ("convolution", "batch_norm")},
            r"block_size=3 and layer_types=\['convolution', 'batch_norm'\]: a block is",
        ),
    ],
)
def test_settings_that_make_no_space_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ConvolutionalSettings(**settings)


# --- The order of the decisions.


def test_decisions_of_a_layer_come_in_the_order_of_the_paper():
    space = make_space(stride_heights=(1, 2, 3), stride_widths=(1, 2, 3))

    layer = [
        "filter_height", "filter_width", "stride_height", "stride_width", "anchor", "num_filters",
    ]  # fmt: skip
    assert kinds(space, depth=2) == layer * 2


def test_what_is_fixed_is_not_decided():
    space = make_space(filter_widths=(3,), skip_connections=False)

    assert kinds(space, depth=2) == ["filter_height", "num_filters"] * 2
    assert [decision.kind for decision in space.decisions] == ["filter_height", "num_filters"]


@pytest.mark.parametrize(
    ("layer_type", "decisions"),
    [
        (0, ["filter_height", "filter_width", "anchor", "num_filters"]),
        (1, ["pool_size", "pool_stride", "anchor"]),
        (2, ["pool_size", "pool_stride", "anchor"]),
        (3, ["anchor"]),
        (4, ["anchor"]),
    ],
)
def test_type_of_a_layer_comes_first_and_only_its_own_decisions_follow(layer_type, decisions):
    space = make_space(layer_types=TYPES)

    assert kinds(space, 1, [layer_type, 0, 0, 0, 0]) == ["layer_type", *decisions]


def test_learning_rate_is_decided_once_and_last():
    space = make_space(skip_connections=False, learning_rates=(0.1, 0.01))

    layer = ["filter_height", "filter_width", "num_filters"]
    assert kinds(space, depth=2) == [*layer, *layer, "learning_rate"]


@pytest.mark.parametrize(("is_chained", "bits"), [(False, [0, 1, 2, 3]), (True, [0, 0, 1, 2])])
def test_anchor_point_has_a_bit_for_each_earlier_layer_that_may_be_left_out(is_chained, bits):
    space = make_space(is_chained=is_chained)

    decisions = [space.next_decision([0] * step, depth=4) for step in range(16)]

    anchors = [decision for decision in decisions if isinstance(decision, AnchorDecision)]
    assert [anchor.num_earlier for anchor in anchors] == bits


# --- What choices stand for.


def test_choices_are_decoded_to_the_sizes_they_stand_for():
    space = make_space(stride_heights=(1, 2), stride_widths=(3, 1), skip_connections=False)

    architecture = space.decode([1, 0, 1, 0, 2, 0, 1, 0, 1, 1], depth=2)

    assert architecture == ConvolutionalArchitecture(
        (Layer(Convolution(3, 5, 6, 2, 3)), Layer(Convolution(1, 7, 8, 1, 1), (1,)))
    )


def test_choices_of_every_type_are_decoded_to_the_layers_they_stand_for():
    space = make_space(layer_types=TYPES, skip_connections=False, pool_sizes=(2, 5))

    architecture = space.decode([1, 1, 0, 2, 0, 1, 3, 4, 0, 0, 1, 2], depth=5)

    assert [layer.operation for layer in architecture.layers] == [
        Pooling("max_pooling", 5, 5, 1, 1),
        Pooling("average_pooling", 2, 2, 2, 2),
        BatchNorm(),
        ContrastNorm(),
        Convolution(1, 7, 6),
    ]


@pytest.mark.parametrize(
    ("is_chained", "masks", "inputs"),
    [
        (False, [0, 0b1, 0b10, 0b101], [(), (1,), (2,), (1, 3)]),
        (False, [0, 0b0, 0b00, 0b111], [(), (), (), (1, 2, 3)]),
        (True, [0, 0, 0b0, 0b10], [(), (1,), (2,), (2, 3)]),
        (True, [0, 0, 0b1, 0b01], [(), (1,), (1, 2), (1, 3)]),
    ],
)
def test_bits_of_an_anchor_point_name_the_layers_that_feed_it(is_chained, masks, inputs):
    space = make_space(
        filter_heights=(3,), filter_widths=(3,), num_filters=(4,), is_chained=is_chained
    )

    architecture = space.decode(masks, depth=4)

    assert [layer.inputs for layer in architecture.layers] == inputs


def test_learning_rate_is_decoded_with_the_network():
    space = make_space(
        filter_widths=(3,), num_filters=(4,), skip_connections=False, learning_rates=(0.1, 0.01)
    )

    assert space.decode([0, 1], depth=1).learning_rate == 0.01


def test_learning_rate_of_one_choice_is_fixed():
    space = make_space(
        filter_widths=(3,), num_filters=(4,), skip_connections=False, learning_rates=(0.2,)
    )

    assert space.decode([0], depth=1).learning_rate == 0.2


def test_block_is_of_convolutions_that_each_take_what_feeds_the_block_and_those_before_in_it():
    space = make_space(
        filter_heights=(3,), filter_widths=(3,), num_filters=(6, 12), block_size=3,
        pooled_after=(4, 9),
    )  # fmt: skip

    # Block 1 is layers 1 to 3, block 2 layers 4 to 6; block 3 takes block 1 alone.
    architecture = space.decode([0, 0, 0b1, 1, 0b01, 0], depth=3)

    assert [layer.inputs for layer in architecture.layers] == [
        (), (0, 1), (0, 1, 2),
        (1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4, 5),
        (1, 2, 3), (1, 2, 3, 7), (1, 2, 3, 7, 8),
    ]  # fmt: skip
    assert architecture.outputs == (4, 5, 6, 7, 8, 9)
    filters = [layer.operation.num_filters for layer in architecture.layers]
    assert filters == [6] * 3 + [12] * 3 + [6] * 3
    assert architecture.pooled_after == (4,)


def test_block_that_takes_the_image_gives_it_to_all_its_layers():
    space = make_space(filter_heights=(3,), filter_widths=(3,), num_filters=(6,), block_size=2)

    architecture = space.decode([0, 0b0], depth=2)

    assert [layer.inputs for layer in architecture.layers] == [(), (0, 1), (), (0, 3)]
    assert architecture.outputs == (1, 2, 3, 4)


def test_extra_filters_are_added_to_every_convolution():
    space = make_space(skip_connections=False, extra_filters=40)

    architecture = space.decode([0, 0, 0, 0, 0, 1], depth=2)

    assert [layer.operation.num_filters for layer in architecture.layers] == [44, 48]


# --- What is no list of choices.


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], "0 choices: must go on with filter_height in a network of depth 2"),
        ([0, 0, 0, 0, 0], "5 choices: must go on with num_filters in a network of depth 2"),
        ([0] * 7, "7 choices: must be 6 in a network of depth 2, for nothing more is decided"),
    ],
)
def test_list_of_the_wrong_length_is_refused_with_what_is_right(choices, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_space(skip_connections=False).decode(choices, depth=2)


def test_choice_where_nothing_is_to_be_decided_is_refused():
    fixed = make_space(
        filter_heights=(3,), filter_widths=(3,), num_filters=(4,), skip_connections=False
    )

    assert list(all_lists(fixed, depth=2)) == [()]
    with pytest.raises(
        ValueError,
        match="1 choices: must be 0 in a network of depth 2, for nothing more is decided",
    ):
        fixed.decode([0], depth=2)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([2], "choices[0]=2: filter_height has the choices 0 to 1"),
        ([0, 0, 1], "choices[2]=1: anchor has the choices 0 to 0"),
        ([0, 0, 0, -1], "choices[3]=-1: num_filters has the choices 0 to 2"),
        ([0] * 6 + [2], "choices[6]=2: anchor has the choices 0 to 1"),
    ],
)
def test_choice_that_does_not_exist_is_refused_with_those_that_do(choices, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_space().decode(choices, depth=2)
