"""The weights of one recurrent cell: names, shapes and first values."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class CellWeights(NamedTuple):
    """The weights of a cell with N leaves, I inputs, U units and an output of H values.

    They lie as those of torch.nn.LSTM, transposed from the kernels of TensorFlow, the rows of
    leaf 0 first; H is the size P of the projection where there is one, else U.

    weight_ih: (N*U, I), W of all leaves, one below the other; the kernel, transposed.
    weight_hh: (N*U, H), U of all leaves; the recurrent kernel, transposed.
    bias_hh: (N*U,), added to the product with h alone, or None.
    weight_hr: (P, U), the projection of the output, or None.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_hh: Tensor | None
    weight_hr: Tensor | None


def check_sizes(**sizes: int) -> None:
    """Refuse a size that is no whole number above 0, or for proj_size not below.

    Raises:
        ValueError: it is none.
    """
    for name, size in sizes.items():
        least = 0 if name == "proj_size" else 1
        if type(size) is not int or size < least:
            raise ValueError(f"{name}={size!r}: must be a whole number, at least {least}")


def add_weights(
    module: nn.Module,
    suffix: str,
    num_leaves: int,
    input_size: int,
    hidden_size: int,
    *,
    bias: bool,
    proj_size: int,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Give a module the weights of a cell, named as in `CellWeights` and with a suffix; not set."""
    rows = num_leaves * hidden_size
    shapes: dict[str, tuple[int, ...] | None] = {
        "weight_ih": (rows, input_size),
        "weight_hh": (rows, proj_size or hidden_size),
        "bias_hh": (rows,) if bias else None,
        "weight_hr": (proj_size, hidden_size) if proj_size else None,
    }
    for name, shape in shapes.items():
        weight = None
        if shape is not None:
            weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        module.register_parameter(name + suffix, weight)


def weights_of(module: nn.Module, suffix: str) -> CellWeights:
    """Give the weights that `add_weights` gave to a module under that suffix."""
    return CellWeights(*(getattr(module, name + suffix) for name in CellWeights._fields))


def draw(module: nn.Module, hidden_size: int, init_range: float | None) -> None:
    """Set all weights of a module anew: matrices uniform in ± init_range, biases to zero.

    Without init_range it is 1 / sqrt(hidden_size), as in torch.nn.LSTM.
    """
    init_range = 1 / math.sqrt(hidden_size) if init_range is None else init_range
    for weight in module.parameters():
        if weight.ndim == 1:
            nn.init.zeros_(weight)
        else:
            nn.init.uniform_(weight, -init_range, init_range)
