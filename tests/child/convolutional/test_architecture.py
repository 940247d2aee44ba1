from __future__ import annotations

import json

import pytest

from child.convolutional.architecture import ConvolutionalArchitecture, ConvolutionalLayer

ARCHITECTURE = ConvolutionalArchitecture(
    (ConvolutionalLayer(3, 5, 24), ConvolutionalLayer(1, 7, 36))
)


def test_architecture_written_as_json_comes_back_equal():
    text = json.dumps(ARCHITECTURE.to_json())

    assert ConvolutionalArchitecture.from_json(json.loads(text)) == ARCHITECTURE


def test_architecture_as_json_names_every_size():
    assert ARCHITECTURE.to_json() == {
        "layers": [
            {"filter_height": 3, "filter_width": 5, "num_filters": 24},
            {"filter_height": 1, "filter_width": 7, "num_filters": 36},
        ]
    }


def test_architecture_in_a_sentence_has_height_width_and_filters_of_each_layer():
    assert str(ARCHITECTURE) == "3x5,24 - 1x7,36"


def test_architectures_with_the_same_layers_are_one_key():
    same = ConvolutionalArchitecture((ConvolutionalLayer(3, 5, 24), ConvolutionalLayer(1, 7, 36)))

    assert same == ARCHITECTURE
    assert len({same, ARCHITECTURE}) == 1


@pytest.mark.parametrize(
    "layers",
    [
        (ConvolutionalLayer(5, 3, 24), ConvolutionalLayer(1, 7, 36)),
        (ConvolutionalLayer(3, 5, 24), ConvolutionalLayer(1, 7, 24)),
        (ConvolutionalLayer(1, 7, 36), ConvolutionalLayer(3, 5, 24)),
        (ConvolutionalLayer(3, 5, 24),),
    ],
    ids=["turned", "other filters", "other order", "fewer layers"],
)
def test_architectures_with_other_layers_differ(layers):
    assert ConvolutionalArchitecture(layers) != ARCHITECTURE


def test_architecture_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign to field 'layers'"):
        ARCHITECTURE.layers = ()
