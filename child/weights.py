"""The weights of a network, apart from it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import nn

# By the names of torch's state_dict, running means and variances of batch norm included.
Weights = dict[str, NDArray[Any]]


def weights_of(network: nn.Module) -> Weights:
    """Give what a network has learned, as copies on the CPU, in its own order."""
    return {
        name: value.detach().cpu().contiguous().numpy().copy()
        for name, value in network.state_dict().items()
    }
