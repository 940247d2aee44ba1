"""What is left out of a language model for one sequence."""

from __future__ import annotations

import torch
from torch import Tensor


def kept(shape: tuple[int, ...], dropped: float, like: Tensor) -> Tensor | None:
    """Draw a mask: 0 with probability ``dropped``, else 1 / (1 - dropped); None for dropped = 0.

    It is drawn from the generator of the device that ``like`` is on, and has its format.
    """
    if dropped == 0:
        return None
    ones = torch.full(shape, 1 - dropped, device=like.device, dtype=like.dtype)
    return torch.bernoulli(ones).div_(1 - dropped)


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """Give the values times a mask that broadcasts to them."""
    return values if mask is None else values * mask
