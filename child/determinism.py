"""Whether torch may take algorithms whose results differ from run to run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_REPEATABLE = (":4096:8", ":16:8")


@contextmanager
def deterministic() -> Iterator[None]:
    """Let torch take none but deterministic algorithms; what was allowed before is so again after.

    An operation that has no such algorithm raises a RuntimeError that names it. Slower on a GPU;
    on a CPU the operations of our networks are deterministic without it.

    Threads: it holds for the whole process.
    """
    is_on = torch.are_deterministic_algorithms_enabled()
    is_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(is_on, warn_only=is_warning)
        cudnn.deterministic, cudnn.benchmark = flags


def check_workspace(device: torch.device, environment: Mapping[str, str] = os.environ) -> None:
    """Check that cuBLAS has been told to repeat itself. It is told before it first computes.

    Raises:
        ValueError: the device is a GPU, and the variable in the environment that it reads is not
            set so.
    """
    value = environment.get(WORKSPACE)
    if device.type == "cuda" and value not in _REPEATABLE:
        raise ValueError(
            f"is_deterministic=true and {WORKSPACE}={value or ''}: must be "
            f"{' or '.join(_REPEATABLE)} on a GPU, or cuBLAS differs from run to run; set it "
            "before the process starts"
        )
