"""The networks that the benchmark of the training trains, and what they compute."""

from __future__ import annotations

import random

import torch
from torch import nn

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from child.convolutional.network import ConvolutionalNetwork
from child.convolutional.network_settings import NetworkSettings
from child.convolutional.plan import NetworkPlan
from child.data.images import ImageShape
from child.zoo import FIGURE_7

SHAPE = ImageShape(3, 32, 32)
NUM_CLASSES = 10


def six_layers(seed: int = 0) -> ConvolutionalArchitecture:
    """Give a network as the first trials of a search sample it: 6 layers, anything at random."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    layers = []
    for number in range(1, 7):
        height, width = draw.choices((1, 3, 5, 7), k=2)
        inputs = tuple(n for n in range(1, number) if n == number - 1 or draw.random() < 0.5)
        layers.append(Layer(Convolution(height, width, draw.choice((24, 36, 48, 64))), inputs))
    return ConvolutionalArchitecture(tuple(layers))


NETWORKS = {"figure-7": lambda: FIGURE_7, "six-layers": six_layers}


def build(name: str) -> nn.Module:
    """Build a network, always with the same weights."""
    torch.manual_seed(0)
    return ConvolutionalNetwork(NETWORKS[name](), SHAPE, NUM_CLASSES)


def multiply_adds(name: str) -> int:
    """Give the multiply-adds of convolutions and classifier for one image, forwards."""
    return NetworkPlan.of(NETWORKS[name](), SHAPE, NUM_CLASSES, NetworkSettings()).multiply_adds
