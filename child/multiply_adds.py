"""The multiply-adds of a network: how much it computes for one example."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def num_multiply_adds(network: nn.Module, examples: Tensor) -> int:
    """Count the products, each with its sum, of a network's answer to a batch.

    Those of convolutions and of products of matrices count, which is what the literature calls
    multiply-adds; biases, norms, activations, poolings and embeddings do not.

    The count is of a copy whose tensors have shapes and no values: nothing is computed, nothing is
    drawn, and the network and its statistics stay as they are. On the CPU itself torch's own LSTM
    would be one operation, of which its counter knows nothing.

    >>> num_multiply_adds(nn.Linear(5, 7), torch.zeros(1, 5))
    35
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(examples.to("meta"))
    return int(counter.get_total_flops()) // 2
