"""Networks drawn in the manner of Figure 7."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.drawings import Svg

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Layer, Pooling
from child.zoo import FIGURE_7

# The connections of the paper's Figure 7, read off the figure: layer, then what it takes.
FIGURE_7_EDGES = {
    1: ["image"],
    2: [1],
    3: [1, 2],
    4: [1, 2, 3],
    5: [3, 4],
    6: [2, 3, 4, 5],
    7: [2, 3, 4, 5, 6],
    8: [1, 6, 7],
    9: [1, 5, 6, 8],
    10: [1, 3, 4, 5, 6, 7, 8, 9],
    11: [1, 2, 5, 6, 7, 8, 9, 10],
    12: [1, 2, 3, 4, 6, 11],
    13: [1, 3, 6, 7, 8, 9, 10, 11, 12],
    14: [3, 7, 12, 13],
    15: [2, 7, 11, 12, 13, 14],
    "softmax": [15],
}
FIGURE_7_LAYERS = [
    "3x3, 36", "3x3, 48", "3x3, 36", "5x5, 36", "3x7, 48", "7x7, 48", "7x7, 48", "7x3, 36",
    "7x1, 36", "7x7, 36", "5x7, 36", "7x7, 48", "7x5, 48", "7x5, 48", "7x5, 48",
]  # fmt: skip
DOCS = Path(__file__).resolve().parents[3] / "docs"
SMALL = Convolution(3, 3, 8)


@pytest.fixture
def drawn(tmp_path):
    def drawn(*layers, **others):
        return Svg.of(ConvolutionalArchitecture(layers, **others), tmp_path)

    return drawn


def test_figure_7_has_the_connections_of_the_paper(tmp_path):
    expected = {
        f"edge-{source}-{layer}" for layer, taken in FIGURE_7_EDGES.items() for source in taken
    }
    assert Svg.of(FIGURE_7, tmp_path).ids("edge") == expected


def test_figure_7_has_the_layers_of_the_paper(tmp_path):
    svg = Svg.of(FIGURE_7, tmp_path)

    assert svg.ids("layer") == {f"layer-{number}" for number in range(1, 16)}
    assert svg.ids("image", "softmax") == {"image", "softmax"}
    assert [word for word in svg.words if "x" in word and word[0].isdigit()] == FIGURE_7_LAYERS


def test_every_kind_of_layer_says_what_it_is(drawn):
    svg = drawn(
        Layer(Convolution(3, 5, 8, 2, 1)),
        Layer(Pooling("max_pooling", 3, 3, 2, 2), (1,)),
        Layer(Pooling("average_pooling", 2, 2), (2,)),
        Layer(BatchNorm(), (3,)),
        Layer(ContrastNorm(), (4,)),
    )
    assert [word for word in svg.words if not word.isdecimal()] == [
        "image",
        "3x5, 8, stride 2x1",
        "max 3x3, stride 2x2",
        "average 2x2",
        "batch norm",
        "contrast norm",
        "softmax",
        "filter height x width, number of filters",
        "green: wider than tall; darker: larger",
    ]


def test_layers_that_take_the_image_and_those_that_nobody_takes_are_connected(drawn):
    svg = drawn(Layer(SMALL), Layer(SMALL), Layer(SMALL, (0, 2)), also_classified=(2,))

    assert svg.ids("edge") == {
        "edge-image-1", "edge-image-2", "edge-image-3", "edge-2-3", "edge-1-softmax",
        "edge-2-softmax", "edge-3-softmax",
    }  # fmt: skip


def test_pooling_of_all_maps_stands_between_its_layers(drawn):
    svg = drawn(Layer(SMALL), Layer(SMALL, (1,)), Layer(SMALL, (2,)), pooled_after=(2,))

    assert svg.ids("pooling") == {"pooling-2", "pooling-line-2"}
    (_, after_2), (_, before_3) = svg.ends("edge-2-3")
    (_, height), _ = svg.ends("pooling-line-2")
    assert before_3 < height < after_2


def test_lines_run_from_box_to_box_upwards(tmp_path):
    svg = Svg.of(FIGURE_7, tmp_path)
    middles = [svg.ends(f"edge-{n}-{n + 1}") for n in range(1, 15)]
    heights = [start[1] for start, _ in middles]
    assert heights == sorted(heights, reverse=True)
    for name in svg.ids("edge"):
        (_, start), (_, end) = svg.ends(name)
        assert end < start, name


def test_shape_of_a_filter_has_a_colour_and_a_larger_one_a_deeper(drawn):
    svg = drawn(*(Layer(Convolution(*size, 8)) for size in ((1, 1), (7, 7), (7, 1), (1, 7))))
    fills = [tuple(bytes.fromhex(svg.style(f"layer-{n}")[7:13])) for n in range(1, 5)]
    small, large, tall, wide = fills

    assert sum(large) < sum(small)
    assert [max(range(3), key=fill.__getitem__) for fill in (small, large, tall, wide)] == [
        2,
        2,
        0,
        1,
    ]


def test_learning_rate_that_was_decided_stands_there(drawn):
    assert "learning rate 0.05" in drawn(Layer(SMALL), learning_rate=0.05).words


def test_drawing_in_the_documentation_is_what_is_drawn_today(tmp_path):
    drawn = Svg.of(FIGURE_7, tmp_path)
    kept = Svg((DOCS / "figure-7.svg").read_bytes())

    assert kept.words == drawn.words
    kinds = "edge", "layer", "image", "softmax"
    assert kept.ids(*kinds) == drawn.ids(*kinds)
