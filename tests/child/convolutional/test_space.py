from __future__ import annotations

import pytest
from pydantic import ValidationError

from child.convolutional.architecture import ConvolutionalArchitecture, ConvolutionalLayer
from child.convolutional.space import ConvolutionalSettings, ConvolutionalSpace
from child.space import Decision

SETTINGS = ConvolutionalSettings(filter_heights=(1, 3), filter_widths=(5,), num_filters=(4, 8, 6))


def test_settings_by_default_are_those_of_the_paper():
    assert ConvolutionalSettings().model_dump() == {
        "filter_heights": (1, 3, 5, 7),
        "filter_widths": (1, 3, 5, 7),
        "num_filters": (24, 36, 48, 64),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filter_heights": ()}, "filter_heights"),
        ({"filter_widths": (3, 0)}, "filter_widths.1"),
        ({"num_filters": (24, 36, 24)}, "every choice must stand there once"),
        ({"num_filter": (24,)}, "num_filter\n.*not permitted"),
    ],
)
def test_settings_that_make_no_space_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ConvolutionalSettings(**settings)


def test_decisions_of_a_layer_come_in_the_order_of_the_paper():
    space = ConvolutionalSpace(SETTINGS)

    in_order = [space.next_decision([0] * step, depth=2) for step in range(7)]

    layer = [Decision("filter_height", 2), Decision("filter_width", 1), Decision("num_filters", 3)]
    assert in_order == [*layer, *layer, None]


def test_choices_are_decoded_to_the_sizes_they_stand_for():
    architecture = ConvolutionalSpace(SETTINGS).decode([1, 0, 2, 0, 0, 1], depth=2)

    assert architecture == ConvolutionalArchitecture(
        (ConvolutionalLayer(3, 5, 6), ConvolutionalLayer(1, 5, 8))
    )


@pytest.mark.parametrize("choices", [[], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])
def test_list_of_the_wrong_length_is_refused_with_the_right_one(choices):
    message = f"^{len(choices)} choices: must be 6, 3 for each of the 2 layers$"
    with pytest.raises(ValueError, match=message):
        ConvolutionalSpace(SETTINGS).decode(choices, depth=2)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([2, 0, 0], r"^choices\[0\]=2: filter_height has the choices 0 to 1$"),
        ([0, 1, 0], r"^choices\[1\]=1: filter_width has the choices 0 to 0$"),
        ([0, 0, -1], r"^choices\[2\]=-1: num_filters has the choices 0 to 2$"),
    ],
)
def test_choice_that_does_not_exist_is_refused_with_those_that_do(choices, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionalSpace(SETTINGS).decode(choices, depth=1)
