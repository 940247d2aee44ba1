"""The memory that a child takes: when there is none left, and how all of it is given back."""

from __future__ import annotations

import gc
import traceback

import torch

# Where torch raises a plain RuntimeError, only its text tells: its allocator on a CPU, the C++
# library, the CUDA driver, and what cuBLAS and cuDNN say of their own.
_TEXTS = (
    "allocate memory",
    "not enough memory",
    "bad_alloc",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory could not be had, on a CPU or a GPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def forget_locals(error: BaseException) -> None:
    """Clear the variables of all ended calls that led to an error, and to those behind it.

    Whoever keeps the error keeps its traceback, and with it every tensor that a variable in one of
    these calls refers to. Lines and names stay, for whoever reads the traceback.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            waiting += [each.__cause__, each.__context__]


def release(device: torch.device) -> None:
    """Free what nothing refers to any more, and give a GPU's part of it back to the driver.

    Cycles keep tensors until they are looked for. What torch caches on a GPU no other process has.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
