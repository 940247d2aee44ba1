"""How long a network takes to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

NUM_WARM_UPS = 5
NUM_PASSES = 30


def latency_s(
    answer: Callable[[], object],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Give the median time of many answers, each begun when the one before has ended.

    The first few, in which memory is taken and algorithms are chosen, do not count. Whatever else
    the device does meanwhile does.

    Args:
        answer: computes one on the device, which may still be at it on return.
    """

    def timed() -> float:
        began = clock()
        answer()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - began

    for _ in range(NUM_WARM_UPS):
        timed()
    return median(timed() for _ in range(NUM_PASSES))
