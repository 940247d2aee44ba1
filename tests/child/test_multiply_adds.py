"""Multiply-adds of networks, against sums by hand."""

from __future__ import annotations

import pytest
import torch
from support.cells import random_cell
from support.networks import build_child
from torch import nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, ContrastNorm, Convolution, Layer, Pooling
from child.convolutional.network import ConvolutionalNetwork
from child.data.images import ImageShape
from child.language.layers import LSTM
from child.language.model import LanguageModel
from child.language.model_settings import LanguageModelSettings
from child.language.size import ModelSize
from child.multiply_adds import num_multiply_adds
from child.zoo import NAS_CELL


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(5, 7), (1, 5), 5 * 7),
        (nn.Linear(5, 7, bias=False), (1, 5), 5 * 7),
        # Each of 9 x 9 pixels, or of those a stride leaves, is 3 * 3 * 3 products for each filter.
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 9, 9), 9 * 9 * 8 * (3 * 3 * 3)),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (1, 3, 9, 9), 5 * 5 * 8 * (3 * 3 * 3)),
        (nn.Conv2d(3, 8, (5, 1), stride=(3, 1)), (1, 3, 11, 4), 3 * 4 * 8 * (5 * 1 * 3)),
        (nn.Conv2d(4, 8, 3, padding=1, groups=2), (1, 4, 6, 6), 6 * 6 * 8 * (3 * 3 * 2)),
        # Four gates, each a product with the input and one with the state.
        (nn.LSTM(4, 6, bias=False), (1, 1, 4), 4 * (4 * 6 + 6 * 6)),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), (1, 3, 8, 8), 0),
    ],
    ids=["linear", "no bias", "convolution", "strided", "strides", "groups", "lstm", "none"],
)
def test_layer_has_as_many_as_its_formula_says(layer, shape, expected):
    assert num_multiply_adds(layer, torch.zeros(shape)) == expected


def test_batch_of_three_has_three_times_as_many():
    assert num_multiply_adds(nn.Linear(5, 7), torch.zeros(3, 5)) == 3 * 5 * 7


def test_network_has_those_of_its_layers_where_they_are_and_of_its_classifier():
    architecture = ConvolutionalArchitecture(
        (
            Layer(Convolution(3, 3, 6)),
            Layer(Convolution(5, 3, 4, 2, 2), (1,)),
            Layer(Pooling("average_pooling", 2, 2), (2,)),
            Layer(BatchNorm(), (3,)),
            # Beside the layer below it takes the first one's maps of 8 x 8: 10 channels.
            Layer(Convolution(1, 1, 7), (1, 4)),
        )
    )
    network = ConvolutionalNetwork(architecture, ImageShape(2, 8, 8), num_classes=10)

    counted = num_multiply_adds(network, torch.zeros(1, 2, 8, 8))

    first, second = 8 * 8 * 6 * (3 * 3 * 2), 4 * 4 * 4 * (5 * 3 * 6)
    last, classifier = 8 * 8 * 7 * (6 + 4), 7 * 10
    assert counted == first + second + last + classifier


def test_contrast_norm_has_those_of_its_windows():
    convolution = ConvolutionalArchitecture((Layer(Convolution(1, 1, 3)),))
    normed = ConvolutionalArchitecture((*convolution.layers, Layer(ContrastNorm(), (1,))))

    counts = [
        num_multiply_adds(
            ConvolutionalNetwork(a, ImageShape(1, 12, 12), 2), torch.zeros(1, 1, 12, 12)
        )
        for a in (convolution, normed)
    ]

    # One map, 12 x 12, is blurred by 9 x 9 weights: the border's, the mean, the variance.
    assert counts[1] - counts[0] == 3 * (12 * 12) * (9 * 9)


@pytest.mark.parametrize(
    ("architecture", "num_blocks"),
    [(NAS_CELL, NAS_CELL.base), (random_cell(0, 3), 3), (LSTM, 4)],
    ids=["nas", "random", "lstm"],
)
@pytest.mark.parametrize("is_tied", [False, True])
def test_model_has_those_of_its_cells_and_its_softmax_for_a_token(
    architecture, num_blocks, is_tied
):
    embedding_size = 12 if is_tied else 10
    size = ModelSize(50, num_blocks, 2, 12, embedding_size, is_tied=is_tied)
    model = LanguageModel(architecture, size, LanguageModelSettings())

    counted = num_multiply_adds(model, torch.zeros(1, 1, dtype=torch.int64))

    # Each block is a product with the layer's input and one with its state.
    layers = num_blocks * 12 * (embedding_size + 12) + num_blocks * 12 * (12 + 12)
    assert counted == layers + 12 * 50


def test_network_that_is_counted_is_as_it_was():
    torch.manual_seed(0)
    network = build_child()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()

    num_multiply_adds(network, torch.zeros(1, 1, 8, 8))

    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(module.training for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert [weight.grad for weight in network.parameters()] == [None] * 6
