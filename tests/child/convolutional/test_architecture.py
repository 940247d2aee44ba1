from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Layer, Pooling

ARCHITECTURE = ConvolutionalArchitecture(
    (
        Layer(Convolution(3, 5, 24)),
        Layer(Convolution(1, 7, 36, stride_height=2), (1,)),
        Layer(Pooling("max_pooling", 3, 3, 2, 2), (1, 2)),
        Layer(BatchNorm()),
        Layer(ContrastNorm(), (4,)),
        Layer(Pooling("average_pooling", 2, 2), (0, 1, 4)),
    ),
    pooled_after=(2,),
    also_classified=(4,),
    learning_rate=0.05,
)


def chain(*sizes):
    inputs = [(), *((n,) for n in range(1, len(sizes)))]
    return ConvolutionalArchitecture(
        tuple(Layer(Convolution(*size), i) for size, i in zip(sizes, inputs, strict=True))
    )


def test_architecture_written_as_json_comes_back_equal():
    text = json.dumps(ARCHITECTURE.to_json())

    assert ConvolutionalArchitecture.from_json(json.loads(text)) == ARCHITECTURE


def test_architecture_as_json_names_everything():
    assert ARCHITECTURE.to_json() == {
        "layers": [
            {
                "type": "convolution",
                "filter_height": 3,
                "filter_width": 5,
                "num_filters": 24,
                "stride_height": 1,
                "stride_width": 1,
                "inputs": [],
            },
            {
                "type": "convolution",
                "filter_height": 1,
                "filter_width": 7,
                "num_filters": 36,
                "stride_height": 2,
                "stride_width": 1,
                "inputs": [1],
            },
            {
                "type": "max_pooling",
                "height": 3,
                "width": 3,
                "stride_height": 2,
                "stride_width": 2,
                "inputs": [1, 2],
            },
            {"type": "batch_norm", "inputs": []},
            {"type": "contrast_norm", "inputs": [4]},
            {
                "type": "average_pooling",
                "height": 2,
                "width": 2,
                "stride_height": 1,
                "stride_width": 1,
                "inputs": [0, 1, 4],
            },
        ],
        "pooled_after": [2],
        "also_classified": [4],
        "learning_rate": 0.05,
    }


def test_architecture_in_a_line_has_every_operation_and_the_inputs_that_are_not_plain():
    assert str(ARCHITECTURE) == (
        "3x5,24 - 1x7/2x1,36 -pooled- max 3x3/2x2 <1,2 - batch norm <image - contrast norm - "
        "average 2x2 <image,1,4 - classifier <3,4,5,6 (learning rate 0.05)"
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"type": "dense"}, "type='dense': must be one of convolution, max_pooling, "),
        ({}, "type=None: must be one of"),
        ({"type": "batch_norm", "height": 3}, "a batch_norm with height: must have nothing"),
        (
            {"type": "max_pooling", "height": 3},
            "a max_pooling with height, type: must have height, stride_height, stride_width, type, "
            "width",
        ),
    ],
)
def test_json_that_describes_no_layer_is_refused(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Layer.from_json(layer | {"inputs": []})


def test_architectures_with_the_same_layers_are_one_key():
    same = ConvolutionalArchitecture.from_json(ARCHITECTURE.to_json())

    assert same == ARCHITECTURE
    assert len({same, ARCHITECTURE}) == 1


@pytest.mark.parametrize(
    "other",
    [
        chain((5, 3, 24), (1, 7, 36)),
        chain((3, 5, 24), (1, 7, 24)),
        chain((1, 7, 36), (3, 5, 24)),
        chain((3, 5, 24)),
        chain((3, 5, 24), (1, 7, 36, 2)),
        ConvolutionalArchitecture((Layer(Convolution(3, 5, 24)), Layer(Convolution(1, 7, 36)))),
        ConvolutionalArchitecture(chain((3, 5, 24), (1, 7, 36)).layers, pooled_after=(1,)),
        ConvolutionalArchitecture(chain((3, 5, 24), (1, 7, 36)).layers, also_classified=(1,)),
        ConvolutionalArchitecture(chain((3, 5, 24), (1, 7, 36)).layers, learning_rate=0.1),
    ],
    ids=[
        "turned",
        "filters",
        "order",
        "fewer",
        "strides",
        "inputs",
        "pooled",
        "classified",
        "learning rate",
    ],
)
def test_architectures_that_differ_in_one_thing_differ_as_values_and_in_print(other):
    architecture = chain((3, 5, 24), (1, 7, 36))

    assert other != architecture
    assert str(other) != str(architecture)


@pytest.mark.parametrize(
    ("layers", "pooled_after", "message"),
    [
        ([], (), "layers: must be at least one"),
        ([Layer(Convolution(3, 0, 4))], (), "layer 1: filter_width=0: must be at least 1"),
        ([Layer(Convolution(3, 3, 4), (1,))], (), "layer 1: inputs=[1]: must be numbers of layers"),
        ([Layer(BatchNorm()), Layer(BatchNorm(), (0,))], (), "layer 2: inputs=[0]: must be"),
        (
            [Layer(BatchNorm()), Layer(BatchNorm()), Layer(BatchNorm(), (2, 1))],
            (),
            "layer 3: inputs=[2, 1]: must be numbers of layers before it, in ascending order",
        ),
        ([Layer(BatchNorm()), Layer(BatchNorm(), (1, 1))], (), "layer 2: inputs=[1, 1]: must be"),
        ([Layer(BatchNorm()), Layer(BatchNorm(), (2,))], (), "layer 2: inputs=[2]: must be"),
        ([Layer(BatchNorm())], (1,), "pooled_after=[1]: must be numbers of layers, in ascending "),
        ([Layer(BatchNorm())] * 3, (2, 1), "pooled_after=[2, 1]: must be"),
    ],
)
def test_what_is_no_network_is_refused(layers, pooled_after, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvolutionalArchitecture(tuple(layers), pooled_after)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("also_classified", (2,), "also_classified=[2]: must be numbers of layers that feed"),
        ("also_classified", (0,), "also_classified=[0]: must be"),
        ("learning_rate", 0.0, "learning_rate=0.0: must be a number above 0"),
        ("learning_rate", "0.1", "learning_rate='0.1': must be a number above 0"),
        ("learning_rate", float("nan"), "learning_rate=nan: must be"),
    ],
)
def test_what_belongs_to_no_network_is_refused(field, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(chain((3, 5, 24), (1, 7, 36)), **{field: value})


@pytest.mark.parametrize("missing", ["layers", "pooled_after", "also_classified", "learning_rate"])
def test_json_without_one_of_its_keys_is_refused(missing):
    described = ARCHITECTURE.to_json()
    del described[missing]

    with pytest.raises(ValueError, match="must have also_classified, layers, learning_rate, pool"):
        ConvolutionalArchitecture.from_json(described)


def test_json_of_a_layer_without_inputs_is_refused():
    with pytest.raises(ValueError, match="must have inputs"):
        Layer.from_json({"type": "batch_norm"})


def test_architecture_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign to field 'layers'"):
        ARCHITECTURE.layers = ()


def test_outputs_are_the_layers_that_feed_no_other():
    inputs = [(), (1,), (1,), (), (3,)]
    layers = tuple(Layer(Convolution(3, 3, 4), i) for i in inputs)

    assert ConvolutionalArchitecture(layers).outputs == (2, 4, 5)


def test_network_with_every_skip_takes_all_layers_before_each():
    changed = chain((3, 5, 24), (1, 7, 36), (5, 5, 12)).with_every_skip()

    assert [layer.inputs for layer in changed.layers] == [(), (1,), (1, 2)]
    assert str(changed) == "3x5,24 - 1x7,36 - 5x5,12 <1,2"


def test_network_without_skips_is_a_chain():
    architecture = chain((3, 5, 24), (1, 7, 36), (5, 5, 12))

    assert architecture.with_every_skip().without_skips() == architecture


def test_widened_network_has_more_filters_in_every_convolution_and_is_else_the_same():
    widened = ARCHITECTURE.widened(40)

    described = ARCHITECTURE.to_json()
    described["layers"][0]["num_filters"] += 40
    described["layers"][1]["num_filters"] += 40
    assert widened.to_json() == described
