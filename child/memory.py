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
    "ALLOCATION_FAILED",
)
# What a GPU's libraries say for want of memory, and for other reasons.
_AMBIGUOUS_TEXTS = (
    "unable to find an engine to execute",
    "STATUS_NOT_INITIALIZED",
    "NVML_SUCCESS == r INTERNAL ASSERT",
)
_FULL_FRACTION = 0.05  # of a GPU's memory, free, below which they are taken to mean memory


def is_out_of_memory(error: BaseException, device: torch.device) -> bool:
    """Tell whether an error that was just raised means that the device's memory could not be had.

    What can mean something else counts where the memory of the GPU is nearly full.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    if any(text in str(error) for text in _TEXTS):
        return True
    if device.type != "cuda" or not any(text in str(error) for text in _AMBIGUOUS_TEXTS):
        return False
    free_bytes, all_bytes = torch.cuda.mem_get_info(device)
    return free_bytes < _FULL_FRACTION * all_bytes


def is_device_lost(error: BaseException) -> bool:
    """Tell whether an error leaves a process unable to use its GPU: only a new one can.

    Such are an illegal access, an uncorrectable error of the memory, a failed launch.
    """
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, torch.OutOfMemoryError)
        and "CUDA error: " in str(error)
        and "CUDA error: out of memory" not in str(error)
    )


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
