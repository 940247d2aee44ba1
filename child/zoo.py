"""Architectures that are known."""

from __future__ import annotations

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Layer
from child.recurrent.architecture import CellArchitecture
from child.recurrent.node import Node

FIGURE_7 = ConvolutionalArchitecture(
    (
        Layer(Convolution(3, 3, 36)),
        Layer(Convolution(3, 3, 48), (1,)),
        Layer(Convolution(3, 3, 36), (1, 2)),
        Layer(Convolution(5, 5, 36), (1, 2, 3)),
        Layer(Convolution(3, 7, 48), (3, 4)),
        Layer(Convolution(7, 7, 48), (2, 3, 4, 5)),
        Layer(Convolution(7, 7, 48), (2, 3, 4, 5, 6)),
        Layer(Convolution(7, 3, 36), (1, 6, 7)),
        Layer(Convolution(7, 1, 36), (1, 5, 6, 8)),
        Layer(Convolution(7, 7, 36), (1, 3, 4, 5, 6, 7, 8, 9)),
        Layer(Convolution(5, 7, 36), (1, 2, 5, 6, 7, 8, 9, 10)),
        Layer(Convolution(7, 7, 48), (1, 2, 3, 4, 6, 11)),
        Layer(Convolution(7, 5, 48), (1, 3, 6, 7, 8, 9, 10, 11, 12)),
        Layer(Convolution(7, 5, 48), (3, 7, 12, 13)),
        Layer(Convolution(7, 5, 48), (2, 7, 11, 12, 13, 14)),
    )
)
"""The best network that Zoph & Le 2017 found without strides and pooling, their Figure 7.

For 32x32 colour images and 10 classes its convolutions and its classifier have 4,200,348 weights,
biases and batch norm not counted. The paper reports 5.50 % test error on CIFAR-10.
"""

NAS_CELL = CellArchitecture(
    nodes=(
        Node("add", "sigmoid"),
        Node("add", "relu"),
        Node("add", "sigmoid"),
        Node("elem_mult", "relu"),
        Node("add", "tanh"),
        Node("add", "sigmoid"),
        Node("add", "tanh"),
        Node("add", "sigmoid"),
        Node("elem_mult", "tanh"),
        Node("add", "tanh"),
        Node("elem_mult", "tanh"),
        Node("add", "sigmoid"),
        Node("elem_mult", "identity"),
        Node("add", "tanh"),
        Node("elem_mult", "tanh"),
    ),
    inject=Node("add", "tanh"),
    memory_index=12,
    inject_index=8,
)
"""The recurrent cell that Zoph & Le 2017 found, as TensorFlow ships it under the name NASCell.

Written by hand it is `child.recurrent.NASCell`. The paper reports a test perplexity of 62.4 on Penn
Treebank, with 54M weights and shared embeddings.
"""
