"""Arrays as tensors that stay on a device while children come and go."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def resident(array: NDArray[Any], device: torch.device) -> Tensor:
    """Give an array as a tensor on the device; on a CPU it is the same memory, not a copy.

    So all processes of one host share what a shared store holds once. Such arrays are read-only,
    which torch cannot express: whoever takes the tensor never writes to it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)
