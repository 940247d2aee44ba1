from __future__ import annotations

import torch

from child.convolutional.network import ConvolutionalNetwork
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import NetworkPlan
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.images import ImageShape
from child.recurrent.cell import RecurrentCell
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings
from child.zoo import FIGURE_7, NAS_CELL

CIFAR = ImageShape(3, 32, 32)


def test_figure_7_has_exactly_as_many_weights_as_the_figure_gives():
    network = ConvolutionalNetwork(FIGURE_7, CIFAR, num_classes=10)

    weights = [p.numel() for p in network.parameters() if p.ndim > 1]
    assert sum(weights) == 4_200_348
    assert len(weights) == 16
    assert NetworkPlan.of(FIGURE_7, CIFAR, 10, NetworkSettings()).num_weights == 4_200_348


def test_figure_7_classifies_images():
    network = ConvolutionalNetwork(FIGURE_7, CIFAR, num_classes=10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        logits = network(torch.randn(2, *CIFAR))

    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


def test_figure_7_has_the_connections_of_the_figure():
    figure = """
        1: - | 2: 1 | 3: 1 2 | 4: 1 2 3 | 5: 3 4 | 6: 2 3 4 5 | 7: 2 3 4 5 6 | 8: 1 6 7 |
        9: 1 5 6 8 | 10: 1 3 4 5 6 7 8 9 | 11: 1 2 5 6 7 8 9 10 | 12: 1 2 3 4 6 11 |
        13: 1 3 6 7 8 9 10 11 12 | 14: 3 7 12 13 | 15: 2 7 11 12 13 14
    """
    layers = [
        f"{i}: {' '.join(map(str, layer.inputs)) or '-'}"
        for i, layer in enumerate(FIGURE_7.layers, 1)
    ]

    assert layers == [" ".join(part.split()) for part in figure.split("|")]


def test_figure_7_ends_in_its_last_layer_alone():
    assert FIGURE_7.outputs == (15,)


def test_figure_7_with_every_skip_and_with_none_are_built():
    for architecture, classifier in (
        (FIGURE_7.with_every_skip(), 48),
        (FIGURE_7.without_skips(), 48),
    ):
        network = ConvolutionalNetwork(architecture, CIFAR, num_classes=10).eval()
        with torch.no_grad():
            assert network(torch.zeros(1, *CIFAR)).shape == (1, 10)
        assert network.classifier.in_features == classifier
    every = NetworkPlan.of(FIGURE_7.with_every_skip(), CIFAR, 10, NetworkSettings())
    filters = [layer.operation.num_filters for layer in FIGURE_7.layers]
    pixels = [
        layer.operation.filter_height * layer.operation.filter_width for layer in FIGURE_7.layers
    ]
    by_hand = sum(p * (sum(filters[:i]) or 3) * filters[i] for i, p in enumerate(pixels)) + 480
    assert every.num_weights == by_hand


def test_figure_7_is_a_network_of_the_paper_s_space():
    space = ConvolutionalSpace(ConvolutionalSettings())
    sizes, filters = (1, 3, 5, 7), (24, 36, 48, 64)
    choices = []
    for layer in FIGURE_7.layers:
        o = layer.operation
        mask = sum(1 << (number - 1) for number in layer.inputs)
        choices += [sizes.index(o.filter_height), sizes.index(o.filter_width), mask]
        choices.append(filters.index(o.num_filters))

    assert space.decode(choices, depth=15) == FIGURE_7


def test_found_cell_prints_as_the_tree_that_tensorflow_computes():
    assert str(NAS_CELL) == (
        "sigm+ relu+ sigm+ relu* tanh+ sigm+ tanh+ sigm+ | tanh* tanh+ tanh* sigm+ | id* tanh+ | "
        "tanh*; c' from 12; tanh+ c at 8"
    )


def test_found_cell_is_a_cell_of_the_paper_s_space():
    space = RecurrentSpace(RecurrentSettings())

    assert space.decode(space.encode(NAS_CELL), depth=8) == NAS_CELL


def test_found_cell_has_eight_blocks_of_weights_for_x_and_eight_for_h():
    cell = RecurrentCell(NAS_CELL, input_size=10, hidden_size=20)

    assert sum(p.numel() for p in cell.parameters()) == 8 * 20 * (10 + 20)
